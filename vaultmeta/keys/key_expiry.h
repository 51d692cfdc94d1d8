#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "crypto/keyvault/key_vault.h"
#include "vaultmeta/keys/rotation_rule.h"

namespace vaultfs {

// How long before a version expires people are told.
inline constexpr std::int64_t kExpiryNoticeSeconds = 30LL * 24 * 3600;

// An Active version that wraps no more, or soon will not: it has expired, or does so within kExpiryNoticeSeconds. It
// opens the vault all the same.
struct KeyExpiry {
  VersionName name;
  std::int64_t expires = 0;  // Unix seconds
  bool expired = false;
  // What it means and what to do, for people.
  [[nodiscard]] std::string message() const;
};

// Nothing unless there is something to tell at that time.
[[nodiscard]] std::optional<KeyExpiry> expiry_to_tell(const VersionName& name,
                                                      const std::optional<std::int64_t>& expires,
                                                      std::int64_t now_unix_seconds);

}  // namespace vaultfs
