#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tools/vaultctl/key/key_impact.h"
#include "vaultmeta/machine/identity_store.h"

namespace vaultfs {

// The vaults of this machine that speak to key vaults as that identity: by the slots of their keyrings, which hold what
// Active and Retiring versions want. One that can't be asked counts unless its registration and its slots both name
// another identity.
[[nodiscard]] Result<std::vector<VaultImpact>> find_identity_impact(CommandContext& context, const Identity& identity);

// Of vaults that need keys of one key vault (find_key_vault_impact), those that get them as that identity; and those
// that get them as anybody else. Both outlive neither argument.
[[nodiscard]] VaultFilter speaking_as(Machine& machine, const Identity& identity);
[[nodiscard]] VaultFilter speaking_as_others(Machine& machine, const Identity& identity);

// A line per vault, for refusals: "\n  PATH: 2 key versions, 3 recovery points".
[[nodiscard]] std::string needing_lines(const std::vector<VaultImpact>& needing);

}  // namespace vaultfs
