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

Status register_from_slots(MachineState& machine, const VaultId& vault, const std::filesystem::path& path,
                           const std::vector<KeyringSlot>& slots) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Registration> known, machine.registration(vault));
  if (known) return ok_status();
  Registration one;
  one.vault = vault;
  one.path = std::filesystem::absolute(path).lexically_normal();
  one.needed.emplace();
  for (const KeyringSlot& slot : slots) {
    if (slot.role == VersionRole::active) one.identity = slot.identity;
    if (slot.kind != SlotKind::key_vault) continue;
    one.needed->push_back({slot.key_vault, slot.key, slot.version});
    if (slot.role != VersionRole::active) continue;
    one.key_vault = slot.key_vault;
    one.key = slot.key;
  }
  std::ranges::sort(*one.needed);
  return machine.register_vault(one);
}

}  // namespace vaultfs
