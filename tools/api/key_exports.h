#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "crypto/keyvault/key_ref.h"
#include "tools/machine.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {

// What of a key lies outside its local key vault, in files that `key export` wrote.
enum class ExportState : std::uint8_t {
  none,
  current,
  stale,  // some version was exported, but a copy elsewhere would not have those that are `missing`
};
struct ExportedVersion {
  std::string key;  // KEYVAULT/KEY
  std::string version;
  std::optional<std::int64_t> exported;  // when last, in Unix seconds; nothing: never, or that is not known
};
struct KeyExports {
  std::string key;  // KEYVAULT/KEY: the one that was asked about, or that the vault is set to
  ExportState state = ExportState::none;
  std::vector<std::string> missing;
  std::vector<ExportedVersion> versions;
};

// `missing` are newer than what was exported. Nothing for a key of another kind of key vault, or one that can't be
// looked at. Nothing is asked over a network.
[[nodiscard]] std::optional<KeyExports> key_exports(Machine& machine, const KeyRef& key);
// The same of what a vault needs, Active and Retiring, of any local key vault: `missing` are those that were never
// exported. Nothing for a vault that needs none of those.
[[nodiscard]] std::optional<KeyExports> key_exports(Machine& machine, const EncryptionStatus& status);

//   {"state": "None" | "Current" | "Stale", "missing": [version, …], "versions": [{"version","exported"}, …]}
// or null; of a vault besides: "key", and the same of each version.
[[nodiscard]] nlohmann::json key_export_to_json(Machine& machine, const KeyRef& key);
[[nodiscard]] nlohmann::json vault_export_to_json(const std::optional<KeyExports>& exports);

// Sets "exported" of each {"version", …}: when it was last exported, null if never or if that is not known.
void add_export_times(nlohmann::json& versions, const nlohmann::json& exported);

}  // namespace vaultfs
