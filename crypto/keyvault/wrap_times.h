#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {

// KeyVersionExpired or KeyVersionNotYetValid for a version that may not wrap at the time `now` (Unix seconds), saying
// what to do. `key` is KEYVAULT/KEY.
[[nodiscard]] Status check_wrap_times(const std::string& key, const KeyVersionInfo& version, std::int64_t now);

}  // namespace vaultfs
