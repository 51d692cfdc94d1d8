#pragma once

#include <filesystem>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/key_custody.h"
#include "vaultmeta/machine_state.h"

namespace vaultfs {

// Puts a vault on this machine's list as it is now, or corrects what is there: above all where it lies, for a vault may
// be moved. The list of needed versions only grows by this; its custody shortens it, in step with its keyrings.
[[nodiscard]] Status ensure_registered(MachineState& machine, const VaultId& vault, const std::filesystem::path& path,
                                       const EncryptionStatus& status);

}  // namespace vaultfs
