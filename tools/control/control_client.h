#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/control/unique_fd.h"

namespace vaultfs {

// A connection to the owner of a vault, if one listens. Nothing: nobody does (or its socket is stale).
[[nodiscard]] Result<std::optional<UniqueFd>> connect_to_owner(const std::filesystem::path& vault);

// Sends one request and waits for its result; `progress` is called with each progress message (may be empty). `target`
// says for which vault it is (request_target.h).
[[nodiscard]] Result<nlohmann::json> ask_owner(const UniqueFd& connection, const std::string& verb,
                                               const nlohmann::json& arguments, const std::vector<int>& descriptors,
                                               const std::function<void(const nlohmann::json&)>& progress,
                                               const nlohmann::json& target = nullptr);

}  // namespace vaultfs
