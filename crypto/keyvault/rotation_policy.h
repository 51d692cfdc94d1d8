#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {

// When a key gets a new version by itself. Exactly one of the two triggers is set.
struct RotationPolicy {
  std::optional<std::uint32_t> after_create_days = std::nullopt;   // this long after the newest version was made
  std::optional<std::uint32_t> before_expiry_days = std::nullopt;  // this long before the newest version expires
  std::optional<std::uint32_t> expiry_days =
      std::nullopt;  // how long a version made by the policy is valid; none: for ever
  bool operator==(const RotationPolicy&) const = default;

  // InvalidArgument: not exactly one trigger, a rotation of less than 7 days, an expiry of less than 28 (the limits
  // that Azure documents), a trigger that does not come before the expiry, before_expiry_days without expiry_days.
  [[nodiscard]] Status check() const;
  // A newest version without an expiry counts as one that was made by the policy.
  [[nodiscard]] bool due(const KeyVersionInfo& newest, std::int64_t now_unix_seconds) const noexcept;
};

// A rotation policy as people are shown it: ISO 8601 durations, empty where there is none. Key vaults elsewhere know
// months and years, which have no length in days.
struct RotationPolicyText {
  std::string after_create;   // the new version is made this long after the newest one
  std::string before_expiry;  // or this long before the newest one expires
  std::string expiry;         // of versions that the policy makes
  bool operator==(const RotationPolicyText&) const = default;
};
[[nodiscard]] RotationPolicyText rotation_policy_text(const RotationPolicy& policy);

// "P30D"
[[nodiscard]] std::string days_duration(std::uint32_t days);
// "P30D", "P12W" (ISO 8601, days and weeks only: months have no length) or "30d", "12w". InvalidArgument.
[[nodiscard]] Result<std::uint32_t> parse_duration_days(std::string_view text);

}  // namespace vaultfs
