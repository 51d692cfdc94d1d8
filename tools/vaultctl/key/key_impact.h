#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "tools/vaultctl/command_context.h"

namespace vaultfs {

// What one vault of this machine would lose with a key version.
struct VaultImpact {
  std::string vault;  // id in hex
  std::string path;
  bool reachable = true;  // false: it could not be asked, so it counts as needing every version of its key
  Error problem;          // why not
  std::uint64_t recovery_points = 0;
  std::uint64_t keyring_generation = 0;
  bool follows_new_versions = false;
  // Of that key: {version, role, …}, as in encryption show, and {in_doubt}: whether it can't be told if the key vault
  // that the vault names is the one that was asked for.
  nlohmann::json versions = nlohmann::json::array();

  // Active or Retiring, or unknown.
  [[nodiscard]] bool needs(const std::string& version) const;
  // A version of the key, whichever.
  [[nodiscard]] bool needs_any() const;
  // "Active", "Retiring", "Retired", "unknown", or "not used".
  [[nodiscard]] std::string role_of(const std::string& version) const;
  // The newest record of that version; null if there is none.
  [[nodiscard]] const nlohmann::json* record_of(const std::string& version) const;
};

// "can't be asked (VaultNotFound; vault 0123…)", and what to do about it, for people.
[[nodiscard]] std::string unreachable_text(const VaultImpact& impact);
[[nodiscard]] std::string unreachable_advice(const VaultImpact& impact);

// The vault's answer to key.usage, and in `impact` what it says of itself; an error, and an unreachable `impact`, if it
// can't be asked or another vault is in its place.
[[nodiscard]] Result<nlohmann::json> ask_usage(CommandContext& context, VaultImpact& impact,
                                               const Registration& registration);

// Asks every vault that is registered for the key on this machine. Takes no lock of the key vault. The key counts under
// the names that other registrations of the same key vault give it, and of one that may be the same; with `versions`
// those that use one of these under any name count as well, where a version's id names it alone.
// A vault that can't be asked counts if it may need the key: its registration names it, or lists it or such a version
// among those that the vault needs (Active and Retiring), or has no such list; or a slot of the keyring that lies there
// names it (not authenticated: it can only add caution).
[[nodiscard]] Result<std::vector<VaultImpact>> find_impact(CommandContext& context, const KeyRef& key,
                                                           const std::vector<std::string>& versions = {});

// The vaults of this machine that need a key (Active or Retiring) of the key vault of that name, or can't be asked and
// may need one; also those that know a version under another name, and would find it only there, and those that know it
// in a key vault that is not registered here: it may be this one. `counts` is called for each and says whether it
// counts: whether it speaks to the key vault as somebody in particular.
using VaultFilter = std::function<bool(const Registration&, const VaultImpact&)>;
[[nodiscard]] Result<std::vector<VaultImpact>> find_key_vault_impact(CommandContext& context, const std::string& name,
                                                                     const VaultFilter& counts = {});

}  // namespace vaultfs
