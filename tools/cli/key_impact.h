#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "tools/cli/command_context.h"

namespace vaultfs {

// What one vault of this machine would lose with a key version.
struct VaultImpact {
  std::string vault;  // id in hex
  std::string path;
  bool reachable = true;  // false: it could not be asked, so it counts as needing every version of its key
  Error problem;          // why not
  std::uint64_t recovery_points = 0;
  std::uint64_t keyring_generation = 0;
  nlohmann::json versions = nlohmann::json::array();  // of that key: {version, role, …}, as in encryption show

  // Active or Retiring, or unknown.
  [[nodiscard]] bool needs(const std::string& version) const;
  // A version of the key, whichever.
  [[nodiscard]] bool needs_any() const;
  // Why a Retiring version waits, for people; empty if it is none.
  [[nodiscard]] std::string waiting_for(const std::string& version) const;
  // "Active", "Retiring", "Retired", "unknown", or "not used".
  [[nodiscard]] std::string role_of(const std::string& version) const;
};

// "can't be asked (VaultNotFound; vault 0123…)", and what to do about it, for people.
[[nodiscard]] std::string unreachable_text(const VaultImpact& impact);
[[nodiscard]] std::string unreachable_advice(const VaultImpact& impact);

// Whether a vault that can't be asked may need the key: its registration names it, or lists it or the very version of
// `key` among those that the vault needs (Active and Retiring), or has no such list; or a slot of the keyring that lies
// there names it (not authenticated: it can only add caution).
[[nodiscard]] bool may_need_key(Env& env, const Registration& registration, const KeyRef& key);

// Asks every vault that is registered for the key on this machine. Takes no lock of the key vault.
// With `versions` those that use one of these under any name count as well.
[[nodiscard]] Result<std::vector<VaultImpact>> find_impact(CommandContext& context, const KeyRef& key,
                                                           const std::vector<std::string>& versions = {});

// The vaults of this machine that need a key (Active or Retiring) of the key vault of that name, or can't be asked and
// may need one; also those that know a version under another name, and would find it only there.
[[nodiscard]] Result<std::vector<VaultImpact>> find_key_vault_impact(CommandContext& context, const std::string& name);

}  // namespace vaultfs
