#pragma once

#include <filesystem>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

[[nodiscard]] Result<DirectoryId> directory_id(VaultDirectory& directory);

// Puts a vault on this machine's list as it is now at that place (known_place), or corrects what is there. A vault that
// was moved takes what the machine keeps of it along; one that was copied takes nothing from its original. The list of
// needed versions only grows by this; its custody shortens it, in step with its keyrings.
[[nodiscard]] Status ensure_registered(MachineState& machine, VaultDirectory& directory,
                                       const std::filesystem::path& place, const VaultId& vault,
                                       const EncryptionStatus& status);

// The same for a vault that nobody has opened: by the slots of its keyring, Active and Retiring, which are not
// authenticated. A vault that is on the list already stays as it is there.
[[nodiscard]] Status register_from_slots(MachineState& machine, const VaultId& vault, const std::filesystem::path& path,
                                         const std::vector<KeyringSlot>& slots);

}  // namespace vaultfs
