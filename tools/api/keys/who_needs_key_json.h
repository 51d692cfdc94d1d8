#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/api/keys/who_needs_key.h"

namespace vaultfs {

// The answer to `key impact` in JSON, {"vaults"}; with `version` also what it is to each of them.
[[nodiscard]] nlohmann::json to_json(const std::vector<VaultNeed>& needs, const std::string& version);

}  // namespace vaultfs
