#pragma once

#include <CLI/CLI.hpp>

#include "tools/vaultctl/command_context.h"

namespace vaultfs {

// keyvault update, allow, deny: of the group `keyvault`.
void add_keyvault_access_commands(CLI::App& group, CommandContext& context);

// The access policies of a local key vault: null where every identity is let in.
[[nodiscard]] nlohmann::json access_to_json(const std::optional<std::vector<AccessPolicy>>& access);

}  // namespace vaultfs
