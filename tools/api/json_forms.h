#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "fs/engine/vault_engine.h"
#include "fs/restore/restore.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// How the engine's structures look in JSON (docs/cli.md). Times are RFC 3339 in UTC, or null where there is none.

[[nodiscard]] nlohmann::json time_to_json(UnixNanos time);
// Key vaults date to years that nanoseconds can't reach. Null beyond the years 0 to 9999, which RFC 3339 has.
[[nodiscard]] nlohmann::json seconds_to_json(std::int64_t unix_seconds);
[[nodiscard]] nlohmann::json error_to_json_form(const Error& error);  // {"name","message"}
[[nodiscard]] nlohmann::json to_json(const JobInfo& job);
[[nodiscard]] nlohmann::json to_json(const PointInfo& point);
[[nodiscard]] nlohmann::json to_json(const VersionRecord& version);
[[nodiscard]] nlohmann::json to_json(const EncryptionStatus& status);
// "Escrowed", "NotEscrowed"; null without infrastructure encryption.
[[nodiscard]] nlohmann::json escrowed_infrastructure_to_json(const EscrowStatus& escrow);
[[nodiscard]] nlohmann::json to_json(const std::vector<KeyDrill>& drills);  // {"slots","key_expiry"}
[[nodiscard]] nlohmann::json expiry_to_json(const std::optional<KeyExpiry>& expiry);
[[nodiscard]] nlohmann::json to_json(const ActivityEntry& entry);
[[nodiscard]] nlohmann::json to_json(const ActivityReport& report);
[[nodiscard]] nlohmann::json to_json(const CommitOutcome& outcome);
[[nodiscard]] nlohmann::json to_json(const BackupOutcome& outcome);
[[nodiscard]] nlohmann::json to_json(const RestoreOutcome& outcome);
[[nodiscard]] nlohmann::json to_json(const VerifyReport& report);
[[nodiscard]] nlohmann::json to_json(const ExaminedDamage& examined);
// What became of the damage that a verification found.
void add_to_verify(const nlohmann::json& examined, nlohmann::json& form);

// Fields of a request's arguments: Usage if missing or of another type.
[[nodiscard]] Result<std::string> text_argument(const nlohmann::json& arguments, const std::string& name);
[[nodiscard]] Result<std::string> optional_text_argument(const nlohmann::json& arguments, const std::string& name);
[[nodiscard]] Result<bool> flag_argument(const nlohmann::json& arguments, const std::string& name);  // false if missing

}  // namespace vaultfs
