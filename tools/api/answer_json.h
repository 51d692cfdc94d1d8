#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "fs/engine/vault_engine.h"
#include "tools/api/backup_requests.h"
#include "tools/api/damage_requests.h"
#include "tools/api/vault_overview.h"

namespace vaultfs {

// How the answers to whole requests look in JSON (docs/cli.md); what they are made of is in json_forms.h.

[[nodiscard]] nlohmann::json to_json(const VaultOverview& overview);
[[nodiscard]] nlohmann::json to_json(const EncryptionOverview& overview);
[[nodiscard]] nlohmann::json to_json(const RefreshAnswer& answer);
[[nodiscard]] nlohmann::json to_json(const VerifyAnswer& answer);
[[nodiscard]] nlohmann::json to_json(const ReencryptOutcome& outcome);
[[nodiscard]] nlohmann::json to_json(const BackupAnswer& answer);
[[nodiscard]] nlohmann::json to_json(const CommitAnswer& answer);

// {NAME: [...]}
template <typename Record>
[[nodiscard]] nlohmann::json list_to_json(const char* name, const std::vector<Record>& records) {
  nlohmann::json list = nlohmann::json::array();
  for (const Record& record : records) list.push_back(to_json(record));
  return {{name, std::move(list)}};
}

}  // namespace vaultfs
