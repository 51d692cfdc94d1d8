#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "tools/api/keys/machine_context.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// Which vault somebody means who wants one forgotten.
struct ForgetChoice {
  VaultId vault;
  std::string description;                         // for people: its paths
  std::vector<std::filesystem::path> places = {};  // where; empty: wherever it may be registered
  std::optional<Error> refusal;                    // why it must be confirmed: VaultExists, DamagedMachineState
};

// `name` is a vault's id or a path. Of the vaults registered at a path the one that is gone is meant, though another
// lies there now; of the places of an id those from which the vault is gone, if there are any. VaultNotFound; Usage if
// several are gone that lay there.
[[nodiscard]] Result<ForgetChoice> choose_vault_to_forget(MachineState& state, Env& env, const std::string& name);

struct ForgetAnswer {
  bool known_elsewhere = false;  // at another place: its keys are needed there, and its own identity stays
};
// Takes it from this machine's list, and its own identity if no other place is left: its keys may be disabled then
// without asking it. The vault itself is not touched. `although_refused`: somebody confirmed it; without that it is the
// choice's refusal, if it has one. What fails can be tried again.
[[nodiscard]] Result<ForgetAnswer> forget_vault(const MachineContext& context, const ForgetChoice& choice,
                                                bool although_refused);

}  // namespace vaultfs
