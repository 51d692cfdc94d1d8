#pragma once

#include <cstdint>

#include "base/files/env.h"
#include "base/result.h"

namespace vaultfs {

// Makes durable what the file shows of [from, to). A sync alone would not: after one of a former owner's has failed,
// the kernel shows what it has lost, and calls it written. So all of it is written once more. IoError if the file is
// shorter.
[[nodiscard]] Status write_again(File& file, std::uint64_t from, std::uint64_t to);

}  // namespace vaultfs
