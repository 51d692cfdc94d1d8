#include "vaultmeta/vault_registration.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace vaultfs {

Status ensure_registered(MachineState& machine, const VaultId& vault, const std::filesystem::path& path,
                         const EncryptionStatus& status) {
  const std::filesystem::path place = std::filesystem::absolute(path).lexically_normal();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Registration> known, machine.registration(vault));
  const std::vector<RegisteredKey> needed = needed_keys(status.versions);
  const auto describe = [&](Registration& one) {
    one.path = place;
    one.key_vault = status.settings.key_vault;
    one.key = status.settings.key;
    one.identity = status.settings.identity;
    if (!one.needed) return;  // any version may be among them: that covers these too
    std::vector<RegisteredKey> all;
    std::set_union(one.needed->begin(), one.needed->end(), needed.begin(), needed.end(), std::back_inserter(all));
    one.needed = std::move(all);
  };
  if (known) return machine.change_registration(vault, describe);
  Registration registration;
  registration.vault = vault;
  registration.needed.emplace();
  describe(registration);
  return machine.register_vault(registration);
}

}  // namespace vaultfs
