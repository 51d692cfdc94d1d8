#include "tools/api/key_exports.h"

#include <algorithm>

#include "tools/api/json_forms.h"

namespace vaultfs {
namespace {

using nlohmann::json;

constexpr const char* kNeverExported = "None";
constexpr const char* kAllExported = "Current";
constexpr const char* kSomeMissing = "Stale";

Result<std::vector<LocalKeyExport>> exports_of(Machine& machine, const std::string& key_vault, const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const auto local, machine.registry().open_local(key_vault));
  return local->exports(key);
}

bool was_exported(const LocalKeyExport& version) { return version.exported.has_value(); }

}  // namespace

json key_export_to_json(Machine& machine, const KeyRef& key) {
  const auto versions = exports_of(machine, key.key_vault, key.key);
  if (!versions.ok()) return nullptr;
  json form{{"missing", json::array()}, {"versions", json::array()}};
  bool any = false;
  for (const LocalKeyExport& version : *versions) {
    const bool exported = was_exported(version);
    form["versions"].push_back(
        {{"version", version.version}, {"exported", exported ? seconds_to_json(*version.exported) : json(nullptr)}});
    // What is older than all that lies outside was left out on purpose.
    if (any && !exported) form["missing"].push_back(version.version);
    any = any || exported;
  }
  form["state"] = !any ? kNeverExported : (form["missing"].empty() ? kAllExported : kSomeMissing);
  return form;
}

json key_export_to_json(Machine& machine, const EncryptionStatus& status) {
  json form{{"missing", json::array()}, {"versions", json::array()}};
  bool any = false;
  bool local = false;
  for (const VersionRecord& record : status.versions) {
    const auto versions = exports_of(machine, record.key_vault, record.key);
    if (record.role == VersionRole::retired || record.key_vault.empty() || !versions.ok()) continue;
    const auto found = std::ranges::find(*versions, record.version, &LocalKeyExport::version);
    if (found == versions->end()) continue;
    local = true;
    any = any || std::ranges::any_of(*versions, was_exported);
    const bool exported = was_exported(*found);
    form["versions"].push_back({{"key", record.key_vault + "/" + record.key},
                                {"version", record.version},
                                {"exported", exported ? seconds_to_json(*found->exported) : json(nullptr)}});
    if (!exported) form["missing"].push_back(record.version);
  }
  if (!local) return nullptr;
  form["key"] = status.settings.key_vault + "/" + status.settings.key;
  form["state"] = !any ? kNeverExported : (form["missing"].empty() ? kAllExported : kSomeMissing);
  return form;
}

void add_export_times(json& versions, const json& exported) {
  for (json& version : versions) {
    version["exported"] = nullptr;
    if (exported.is_null()) continue;
    for (const json& known : exported["versions"]) {
      if (known["version"] == version["version"]) version["exported"] = known["exported"];
    }
  }
}

}  // namespace vaultfs
