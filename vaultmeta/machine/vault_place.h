#pragma once

#include <filesystem>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// Under which path this machine keeps what it knows of the vault in an open directory: its pin and its registration.
// That is the directory's place, unless the vault is registered at another path that leads to the same directory (a
// bind mount).
[[nodiscard]] Result<std::filesystem::path> known_place(MachineState& machine, VaultDirectory& directory,
                                                        const VaultId& vault);

// AnotherVault if the directory's path is registered for other vaults and not for this one: it may have been put in
// their place. `vault trust` registers it there, too.
[[nodiscard]] Status check_vault_is_known_there(MachineState& machine, VaultDirectory& directory, const VaultId& vault);

// OverlapsVault if a file of that path, which may not exist yet, would lie in a directory with a vault in it, or below
// one, or in `about_to_be`, where one is just being made: files of others are no good there, least of all those that
// are to save it.
[[nodiscard]] Status check_outside_vaults(Env& env, const std::filesystem::path& file,
                                          const std::filesystem::path& about_to_be = {});

// Why a vault's header can't be had: NotAVault where it is not there, but DamagedHeader if the machine knows a vault at
// that path and files of one are there. Other errors stay.
[[nodiscard]] Error why_no_header(MachineState& machine, VaultDirectory& directory, Error error);

// What this machine trusts of the vault at that place: the pin of the place, or where the vault has never been used
// there the newest that the machine has of it elsewhere.
[[nodiscard]] Result<std::optional<Pin>> pin_at(MachineState& machine, const VaultId& vault,
                                                const std::filesystem::path& place);

}  // namespace vaultfs
