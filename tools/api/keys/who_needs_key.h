#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/key_ref.h"
#include "tools/api/keys/machine_context.h"

namespace vaultfs {

// What a key version is to a vault. A vault that can't be asked needs every version of its key: `unknown`.
enum class VersionUse : std::uint8_t { unknown, not_used, active, retiring, retired };
// "Active", "Retiring", "Retired", "unknown", "not used".
[[nodiscard]] std::string_view use_name(VersionUse use) noexcept;

// A version of the key that was asked about, as the vault knows it.
struct UsedVersion {
  VersionRecord record;
  bool in_doubt = false;  // it can't be told if the key vault that the vault names is the one that was asked for
};

// What one vault of this machine would lose with a key.
struct VaultNeed {
  std::string vault;  // id in hex
  std::string path;
  bool reachable = true;  // false: it could not be asked, so it counts as needing every version of its key
  Error problem;          // why not
  std::uint64_t recovery_points = 0;
  std::uint64_t keyring_generation = 0;
  bool follows_new_versions = false;
  std::vector<UsedVersion> versions;

  // Active or Retiring, or unknown.
  [[nodiscard]] bool needs(const std::string& version) const;
  // A version of the key, whichever.
  [[nodiscard]] bool needs_any() const;
  [[nodiscard]] VersionUse use_of(const std::string& version) const;
  // The newest record of that version; null if there is none.
  [[nodiscard]] const UsedVersion* record_of(const std::string& version) const;
};

// The vault's answer to key.usage, and in `need` what it says of itself; an error, and an unreachable `need`, if it
// can't be asked or another vault is in its place.
[[nodiscard]] Result<KeyUsage> ask_usage(const MachineContext& context, VaultNeed& need,
                                         const Registration& registration);

// Asks every vault that is registered for the key on this machine. Takes no lock of the key vault. The key counts under
// the names that other registrations of the same key vault give it, and of one that may be the same; with `versions`
// those that use one of these under any name count as well, where a version's id names it alone.
// A vault that can't be asked counts if it may need the key: its registration names it, or lists it or such a version
// among those that the vault needs (Active and Retiring), or has no such list; or a slot of the keyring that lies there
// names it (not authenticated: it can only add caution).
[[nodiscard]] Result<std::vector<VaultNeed>> who_needs_key(const MachineContext& context, const KeyRef& key,
                                                           const std::vector<std::string>& versions = {});

// The vaults of this machine that need a key (Active or Retiring) of the key vault of that name, or can't be asked and
// may need one; also those that know a version under another name, and would find it only there, and those that know it
// in a key vault that is not registered here: it may be this one. `counts` is called for each and says whether it
// counts: whether it speaks to the key vault as somebody in particular.
using VaultFilter = std::function<bool(const Registration&, const VaultNeed&)>;
[[nodiscard]] Result<std::vector<VaultNeed>> who_needs_key_vault(const MachineContext& context, const std::string& name,
                                                                 const VaultFilter& counts = {});

// The versions that an export of a key is of, oldest first: all that a vault of this machine still needs, the newest in
// any case; all there are, where a vault that may need the key can't be asked.
[[nodiscard]] Result<std::vector<std::string>> versions_to_export(const MachineContext& context, const KeyRef& key,
                                                                  AdministeredKeyVault& key_vault);

}  // namespace vaultfs
