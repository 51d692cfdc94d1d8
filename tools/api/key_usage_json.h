#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "tools/api/key_usage.h"

namespace vaultfs {

// The answer to key.usage in JSON, and back: it comes over the control socket.

[[nodiscard]] nlohmann::json to_json(const KeyUsage& usage);
// Internal if that is no answer to key.usage. What an owner of an older vaultfs does not say has its default.
[[nodiscard]] Result<KeyUsage> key_usage_from_json(const nlohmann::json& form);

}  // namespace vaultfs
