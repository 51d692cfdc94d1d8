#pragma once

#include <array>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"

namespace vaultfs {

// `prefix` and 16 random hexadecimal digits: a file name that nobody else has.
[[nodiscard]] inline std::string unique_name(const std::string& prefix) {
  std::array<std::byte, 8> random{};
  posix_env().fill_random(random);
  return prefix + to_hex(random);
}

}  // namespace vaultfs
