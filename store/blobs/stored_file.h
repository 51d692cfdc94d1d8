#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"

namespace vaultfs {

// A whole file of a vault. One that is longer than `limit` bytes, the most that a vault writes there, is none of its
// own: ForeignFile, nothing of it is read. Else the errors of read_file().
[[nodiscard]] Result<Bytes> read_stored_file(Env& env, const Env::Path& path, std::uint64_t limit);

// Makes durable what the file shows of [from, to). A sync alone would not: after one of a former owner's has failed,
// the kernel shows what it has lost, and calls it written. So all of it is written once more. IoError if the file is
// shorter.
[[nodiscard]] Status write_again(File& file, std::uint64_t from, std::uint64_t to);

}  // namespace vaultfs
