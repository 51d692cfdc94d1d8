#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "base/result.h"
#include "tools/requests/request_handler.h"

namespace vaultfs {

// Verbs about a vault's own keys, entries of the handler's table (docs/cli.md).

[[nodiscard]] Result<nlohmann::json> key_rewrap(const RequestContext& context, const nlohmann::json& arguments,
                                                std::vector<UniqueFd>& files);
[[nodiscard]] Result<nlohmann::json> key_new_epoch(const RequestContext& context, const nlohmann::json& arguments,
                                                   std::vector<UniqueFd>& files);
[[nodiscard]] Result<nlohmann::json> key_drill(const RequestContext& context, const nlohmann::json& arguments,
                                               std::vector<UniqueFd>& files);
[[nodiscard]] Result<nlohmann::json> encryption_set_limits(const RequestContext& context,
                                                           const nlohmann::json& arguments,
                                                           std::vector<UniqueFd>& files);

}  // namespace vaultfs
