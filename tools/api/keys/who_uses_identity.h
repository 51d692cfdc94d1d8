#pragma once

#include <vector>

#include "base/result.h"
#include "tools/api/keys/who_needs_key.h"
#include "vaultmeta/machine/identity_store.h"

namespace vaultfs {

// The vaults of this machine that speak to key vaults as that identity: by the slots of their keyrings, which hold what
// Active and Retiring versions want. One that can't be asked counts unless its registration and its slots both name
// another identity.
[[nodiscard]] Result<std::vector<VaultNeed>> who_uses_identity(const MachineContext& context, const Identity& identity);

// Of vaults that need keys of one key vault (who_needs_key_vault), those that get them as that identity; and those that
// get them as anybody else. Both outlive neither argument.
[[nodiscard]] VaultFilter speaking_as(Machine& machine, const Identity& identity);
[[nodiscard]] VaultFilter speaking_as_others(Machine& machine, const Identity& identity);

}  // namespace vaultfs
