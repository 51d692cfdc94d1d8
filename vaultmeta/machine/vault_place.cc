#include "vaultmeta/machine/vault_place.h"

#include <algorithm>
#include <vector>

#include "vaultmeta/layout/vault_header.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {

Result<std::filesystem::path> known_place(MachineState& machine, VaultDirectory& directory, const VaultId& vault) {
  const std::filesystem::path& place = directory.place();
  const auto registered = machine.registrations_of(vault);
  // Damage is told of where the list is needed.
  if (!registered.ok()) return place;
  const auto at = [](const std::filesystem::path& path) {
    return [&path](const Registration& one) { return one.path == path; };
  };
  if (std::ranges::any_of(*registered, at(place))) return place;
  for (const Registration& one : *registered) {
    VAULTFS_ASSIGN_OR_RETURN(const bool same, directory.is_at(one.path));
    if (same) return one.path;
  }
  return place;
}

Status check_vault_is_known_there(MachineState& machine, VaultDirectory& directory, const VaultId& vault) {
  std::vector<std::filesystem::path> paths{directory.place()};
  if (directory.asked() != directory.place()) paths.push_back(directory.asked());
  for (const std::filesystem::path& path : paths) {
    const auto known = machine.registration(vault, path);
    if (known.ok() && *known) continue;
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> all, machine.registrations());
    const auto other = std::ranges::find(all, path, &Registration::path);
    if (other == all.end()) continue;
    return Error{ErrorCode::AnotherVault,
                 path.string() + " is known as the place of vault " + to_hex(other->vault.view()) + ", and vault " +
                     to_hex(vault.view()) +
                     " lies there now; put the right one back. If this one is meant, because disks take turns there or "
                     "the other one is gone: compare its fingerprint and run 'vaultctl vault trust " +
                     path.string() + " --fingerprint F' once"};
  }
  return ok_status();
}

Status check_outside_vaults(Env& env, const std::filesystem::path& file, const std::filesystem::path& about_to_be) {
  std::filesystem::path asked = std::filesystem::absolute(file).lexically_normal();
  if (!asked.has_filename()) asked = asked.parent_path();
  const auto resolved = [&env](const std::filesystem::path& path) {
    const auto real = env.real_path(path);
    return real.ok() ? *real : path;
  };
  const std::filesystem::path vault = about_to_be.empty() ? "" : resolved(std::filesystem::absolute(about_to_be));
  for (std::filesystem::path at = resolved(asked.parent_path());; at = at.parent_path()) {
    const auto header = env.info(at / VaultHeader::kFileName);
    if (at == vault || (header.ok() && header->kind == FileKind::file)) {
      return Error{ErrorCode::OverlapsVault,
                   file.string() + " would lie in the vault " + at.string() + "; name a place outside of it"};
    }
    if (at == at.parent_path()) return ok_status();
  }
}

Error why_no_header(MachineState& machine, VaultDirectory& directory, Error error) {
  if (error.code != ErrorCode::NotAVault) return error;
  const auto all = machine.registrations();
  if (!all.ok()) return error;
  const bool known = std::ranges::any_of(
      *all, [&](const Registration& one) { return one.path == directory.place() || one.path == directory.asked(); });
  // A creation that was cut short leaves no vault, and a disk that is away none either.
  const auto has_files = [&](const VaultFolder& folder) {
    const auto names = directory.list(directory.place() / folder.name);
    return names.ok() && !names->empty();
  };
  if (!known || !(has_files(kSegmentFiles) || has_files(kPointFiles) || has_files(kCheckpointFiles))) return error;
  return {ErrorCode::DamagedHeader, "this machine knows a vault in " + directory.place().string() + ", but " +
                                        error.message + "; put vault.header back from a copy of the vault"};
}

Result<std::optional<Pin>> pin_at(MachineState& machine, const VaultId& vault, const std::filesystem::path& place) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> own, machine.pin(vault, place));
  if (own) return own;
  return machine.newest_pin(vault);
}

}  // namespace vaultfs
