#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "base/result.h"
#include "tools/api/request_handler.h"

namespace vaultfs {

// Verbs about a vault's own keys, entries of the handler's table (docs/cli.md).

[[nodiscard]] Result<nlohmann::json> key_rewrap(const RequestContext& context, const nlohmann::json& arguments,
                                                std::vector<FileDescriptor>& files);
[[nodiscard]] Result<nlohmann::json> key_new_epoch(const RequestContext& context, const nlohmann::json& arguments,
                                                   std::vector<FileDescriptor>& files);
[[nodiscard]] Result<nlohmann::json> key_drill(const RequestContext& context, const nlohmann::json& arguments,
                                               std::vector<FileDescriptor>& files);
// "new_epoch": a new DEK first. "bytes_per_second": none or 0: as fast as it goes. "without_grace".
[[nodiscard]] Result<nlohmann::json> reencrypt(const RequestContext& context, const nlohmann::json& arguments,
                                               std::vector<FileDescriptor>& files);
// The custody's status, and what each DEK epoch still has.
[[nodiscard]] Result<nlohmann::json> encryption_show(const RequestContext& context, const nlohmann::json& arguments,
                                                     std::vector<FileDescriptor>& files);
[[nodiscard]] Result<nlohmann::json> encryption_set_limits(const RequestContext& context,
                                                           const nlohmann::json& arguments,
                                                           std::vector<FileDescriptor>& files);
[[nodiscard]] Result<nlohmann::json> encryption_set_escrow(const RequestContext& context,
                                                           const nlohmann::json& arguments,
                                                           std::vector<FileDescriptor>& files);

}  // namespace vaultfs
