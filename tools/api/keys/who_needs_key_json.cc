#include "tools/api/keys/who_needs_key_json.h"

#include <utility>

#include "tools/api/json_forms.h"

namespace vaultfs {

using nlohmann::json;

json to_json(const std::vector<VaultNeed>& needs, const std::string& version) {
  json vaults = json::array();
  for (const VaultNeed& need : needs) {
    json versions = json::array();
    for (const UsedVersion& used : need.versions) {
      json record = to_json(used.record);
      record["in_doubt"] = used.in_doubt;
      versions.push_back(std::move(record));
    }
    json form = {{"vault", need.vault},
                 {"path", need.path},
                 {"reachable", need.reachable},
                 {"recovery_points", need.recovery_points},
                 {"versions", std::move(versions)}};
    if (!version.empty()) {
      form["role"] = std::string(use_name(need.use_of(version)));
      form["needs_version"] = need.needs(version);
    }
    if (!need.reachable) form["problem"] = error_to_json_form(need.problem);
    vaults.push_back(std::move(form));
  }
  return {{"vaults", std::move(vaults)}};
}

}  // namespace vaultfs
