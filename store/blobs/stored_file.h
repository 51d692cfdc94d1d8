#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"

namespace vaultfs {

// A whole file of a vault. One that is longer than `limit` bytes, the most that a vault writes there, is none of its
// own: ForeignFile, nothing of it is read. Else the errors of read_file().
[[nodiscard]] Result<Bytes> read_stored_file(Env& env, const Env::Path& path, std::uint64_t limit);

}  // namespace vaultfs
