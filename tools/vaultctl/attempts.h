#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "tools/machine.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// A command that is a job of the vault ("backup", "restore", "reencrypt"); empty for a verb that is none.
[[nodiscard]] std::string attempted_operation(const std::string& verb);

// The vault at that path, or its owner, could not be asked: the machine keeps the attempt for each vault that it knows
// there, or in its audit log alone if there is none. That this fails is a warning.
void keep_unopened_attempt(Machine& machine, const std::filesystem::path& vault, const std::string& operation,
                           const Error& error);

// A restore by a reader, which writes nothing into the vault: the machine keeps it for the vault's next owner.
void keep_restore(Vault& vault, const nlohmann::json& arguments, UnixNanos started,
                  const Result<nlohmann::json>& outcome);

}  // namespace vaultfs
