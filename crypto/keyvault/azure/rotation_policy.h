#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/rotation_policy.h"
#include "crypto/memory/locked_text.h"

namespace vaultfs {

// The rotation policy of a key in Azure Key Vault (REST 7.4, rotationpolicy), as pure functions of foreign bytes:
//   {"lifetimeActions":[{"trigger":{"timeAfterCreate"|"timeBeforeExpiry":"P30D"},"action":{"type":"Rotate"|"Notify"}}],
//    "attributes":{"expiryTime":"P90D"}}
// Every key has one; it makes versions only if it has an action Rotate.
struct AzureRotationPolicy {
  struct Action {
    std::string after_create;   // ISO 8601, as the service has it: years, months and days; empty if not the trigger
    std::string before_expiry;  // likewise
    std::string type;           // "Rotate", "Notify"
    bool operator==(const Action&) const = default;
  };
  std::vector<Action> actions;
  std::string expiry;  // of new versions; empty: they don't expire
  bool operator==(const AzureRotationPolicy&) const = default;

  // What makes versions; nothing if no action does.
  [[nodiscard]] std::optional<RotationPolicyText> rotation() const;
  // The same with that rotation in place of what it has, or with none. What only notifies stays: it belongs to whoever
  // set it. REQUIRES: policy->check().
  [[nodiscard]] AzureRotationPolicy with(const std::optional<RotationPolicy>& policy) const;
  // The body of a PUT.
  [[nodiscard]] LockedText to_json() const;
};

// KeyVaultUnavailable for what is not as documented.
[[nodiscard]] Result<AzureRotationPolicy> parse_azure_rotation_policy(std::string_view body);

}  // namespace vaultfs
