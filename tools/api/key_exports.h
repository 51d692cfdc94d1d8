#pragma once

#include <nlohmann/json.hpp>

#include "crypto/keyvault/key_ref.h"
#include "tools/machine.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {

// What of a key lies outside its local key vault, in files that `key export` wrote. Null for a key of another kind of
// key vault, or one that can't be looked at. Nothing is asked over a network.
//   {"state": "None" | "Current" | "Stale", "missing": [version, …], "versions": [{"version","exported"}, …]}
// Stale: some version was exported, but a copy elsewhere would not have those that are `missing`, which are newer.
[[nodiscard]] nlohmann::json key_export_to_json(Machine& machine, const KeyRef& key);
// The same of the key that a vault uses: `missing` are the versions that it needs, Active and Retiring, of any local
// key vault, each with its "key". Null for a vault that needs none of those. Besides: "key", the one the vault is set
// to.
[[nodiscard]] nlohmann::json key_export_to_json(Machine& machine, const EncryptionStatus& status);

// Sets "exported" of each {"version", …}: when it was last exported, null if never or if that is not known.
void add_export_times(nlohmann::json& versions, const nlohmann::json& exported);

}  // namespace vaultfs
