#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/result.h"

namespace vaultfs {

// A connection to the owner of a vault, if one listens. Nothing: nobody does (or its socket is stale). Who answers is
// this user or root, or for root the vault's maker: anybody else is PermissionDenied.
[[nodiscard]] Result<std::optional<FileDescriptor>> connect_to_owner(const std::filesystem::path& vault);

// The same by the mount that the owner serves: `device` is the file system's, MAJOR:MINOR; `user` is who mounted it.
[[nodiscard]] Result<std::optional<FileDescriptor>> connect_to_mount(const std::string& device, uid_t user);

// Sends one request and waits for its result; `progress` is called with each progress message (may be empty). `target`
// says for which vault it is (request_target.h).
[[nodiscard]] Result<nlohmann::json> ask_owner(const FileDescriptor& connection, const std::string& verb,
                                               const nlohmann::json& arguments, const std::vector<int>& descriptors,
                                               const std::function<void(const nlohmann::json&)>& progress,
                                               const nlohmann::json& target = nullptr);

}  // namespace vaultfs
