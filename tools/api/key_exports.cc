#include "tools/api/key_exports.h"

#include <algorithm>

#include "tools/api/json_forms.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<std::vector<LocalKeyExport>> exports_of(Machine& machine, const std::string& key_vault, const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const auto local, machine.registry().open_local(key_vault));
  return local->exports(key);
}

bool was_exported(const LocalKeyExport& version) { return version.exported.has_value(); }

void set_state(KeyExports& exports, bool any_exported) {
  exports.state = !any_exported             ? ExportState::none
                  : exports.missing.empty() ? ExportState::current
                                            : ExportState::stale;
}

const char* state_name(ExportState state) {
  switch (state) {
    case ExportState::none:
      return "None";
    case ExportState::current:
      return "Current";
    case ExportState::stale:
      break;
  }
  return "Stale";
}

json form_of(const KeyExports& exports, bool with_keys) {
  json versions = json::array();
  for (const ExportedVersion& one : exports.versions) {
    json form = {{"version", one.version}, {"exported", one.exported ? seconds_to_json(*one.exported) : json(nullptr)}};
    if (with_keys) form["key"] = one.key;
    versions.push_back(std::move(form));
  }
  json form = {{"state", state_name(exports.state)}, {"missing", exports.missing}, {"versions", std::move(versions)}};
  if (with_keys) form["key"] = exports.key;
  return form;
}

}  // namespace

std::optional<KeyExports> key_exports(Machine& machine, const KeyRef& key) {
  const auto versions = exports_of(machine, key.key_vault, key.key);
  if (!versions.ok()) return std::nullopt;
  KeyExports exports;
  exports.key = key.key_vault + "/" + key.key;
  bool any = false;
  for (const LocalKeyExport& version : *versions) {
    exports.versions.push_back({exports.key, version.version, version.exported});
    // What is older than all that lies outside was left out on purpose.
    if (any && !was_exported(version)) exports.missing.push_back(version.version);
    any = any || was_exported(version);
  }
  set_state(exports, any);
  return exports;
}

std::optional<KeyExports> key_exports(Machine& machine, const EncryptionStatus& status) {
  KeyExports exports;
  exports.key = status.settings.key_vault + "/" + status.settings.key;
  bool any = false;
  for (const VersionRecord& record : status.versions) {
    const auto versions = exports_of(machine, record.key_vault, record.key);
    if (record.role == VersionRole::retired || record.key_vault.empty() || !versions.ok()) continue;
    const auto found = std::ranges::find(*versions, record.version, &LocalKeyExport::version);
    if (found == versions->end()) continue;
    any = any || std::ranges::any_of(*versions, was_exported);
    exports.versions.push_back({record.key_vault + "/" + record.key, record.version, found->exported});
    if (!was_exported(*found)) exports.missing.push_back(record.version);
  }
  if (exports.versions.empty()) return std::nullopt;
  set_state(exports, any);
  return exports;
}

json key_export_to_json(Machine& machine, const KeyRef& key) {
  const std::optional<KeyExports> exports = key_exports(machine, key);
  return exports ? form_of(*exports, false) : json(nullptr);
}

json vault_export_to_json(const std::optional<KeyExports>& exports) {
  return exports ? form_of(*exports, true) : json(nullptr);
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
