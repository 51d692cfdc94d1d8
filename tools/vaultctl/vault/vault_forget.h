#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// Which vault `vault forget NAME` means.
struct ForgetChoice {
  VaultId vault;
  std::string description;                         // for people: its paths
  std::vector<std::filesystem::path> places = {};  // where; empty: wherever it may be registered
  std::optional<Error> refusal;                    // why only an override may do it: VaultExists, DamagedMachineState
};

// `name` is a vault's id or a path. Of the vaults registered at a path the one that is gone is meant, though another
// lies there now; of the places of an id those from which the vault is gone, if there are any. VaultNotFound; Usage if
// several are gone that lay there.
[[nodiscard]] Result<ForgetChoice> choose_vault_to_forget(MachineState& state, Env& env, const std::string& name);

}  // namespace vaultfs
