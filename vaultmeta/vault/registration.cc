#include "vaultmeta/vault/registration.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// The device that holds, or would hold, what has the path.
Result<std::uint64_t> device_of(Env& env, std::filesystem::path path) {
  while (true) {
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
    if (info.kind != FileKind::missing || path == path.root_path()) return info.device;
    path = path.parent_path();
  }
}

// Whether the vault that was registered at another path is the one in the directory, renamed: it is not there any more,
// the directory is the one that was, and the disk on which it was there is not away. A copy in the stead of one whose
// disk is away is none that was moved.
Result<bool> was_moved_here(VaultDirectory& directory, const DirectoryId& here, const Registration& before) {
  if (before.directory && *before.directory != here) return false;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t device, device_of(directory.machine(), before.path));
  if (device != here.device) return false;
  const auto there = look_at_vault_header(directory.machine(), before.path);
  if (there.ok()) return there->id != before.vault;
  return there.code() == ErrorCode::VaultNotFound || there.code() == ErrorCode::NotAVault;
}

}  // namespace

Result<DirectoryId> directory_id(VaultDirectory& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, directory.identity());
  return DirectoryId{info.device, info.inode};
}

Status ensure_registered(MachineState& machine, VaultDirectory& directory, const std::filesystem::path& place,
                         const VaultId& vault, const EncryptionStatus& status) {
  VAULTFS_ASSIGN_OR_RETURN(const DirectoryId here, directory_id(directory));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registered, machine.registrations_of(vault));
  for (const Registration& one : registered) {
    if (one.path == place) continue;
    VAULTFS_ASSIGN_OR_RETURN(const bool moved, was_moved_here(directory, here, one));
    if (moved) VAULTFS_RETURN_IF_ERROR(machine.move_vault(vault, one.path, place));
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Registration> known, machine.registration(vault, place));
  const std::vector<RegisteredKey> needed = needed_keys(status.versions);
  const auto describe = [&](Registration& one) {
    one.key_vault = status.settings.key_vault;
    one.key = status.settings.key;
    one.identity = status.settings.identity;
    one.directory = here;
    if (!one.needed) return;  // any version may be among them: that covers these too
    std::vector<RegisteredKey> all;
    std::set_union(one.needed->begin(), one.needed->end(), needed.begin(), needed.end(), std::back_inserter(all));
    one.needed = std::move(all);
  };
  if (known) return machine.change_registration(vault, place, describe);
  Registration registration;
  registration.vault = vault;
  registration.path = place;
  registration.needed.emplace();
  describe(registration);
  return machine.register_vault(registration);
}

Status register_from_slots(MachineState& machine, const VaultId& vault, const std::filesystem::path& path,
                           const std::vector<KeyringSlot>& slots) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> known, machine.registrations_of(vault));
  if (!known.empty()) return ok_status();
  Registration one;
  one.vault = vault;
  std::error_code unresolved;
  one.path = std::filesystem::weakly_canonical(path, unresolved);  // a place has no links
  if (unresolved) one.path = std::filesystem::absolute(path).lexically_normal();
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
