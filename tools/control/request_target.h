#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Which vault a request is for, as the client sees it: {"directory":{"device","inode"},"id","root_fingerprint"}. The
// lock file alone, by which the owner is found, may be another vault's. Of a header that can't be read the last two are
// left out. REQUIRES: the directory is open.
[[nodiscard]] Result<nlohmann::json> request_target(VaultDirectory& directory);

// Whether a request (its member "vault") is for the vault that this owner has open, and that one still has its place:
// otherwise AnotherVault. Usage without that member.
[[nodiscard]] Status check_request_target(const nlohmann::json& request, Vault& vault);

}  // namespace vaultfs
