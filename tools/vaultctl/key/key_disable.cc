// vaultctl key impact|disable|delete: what the vaults of this machine need.

#include <algorithm>

#include "base/visible_text.h"
#include "tools/api/json_forms.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/key/key_impact.h"
#include "tools/vaultctl/key/key_withdrawal.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

json impact_to_json(const std::vector<VaultImpact>& impacts, const std::string& version) {
  json vaults = json::array();
  for (const VaultImpact& impact : impacts) {
    json form = {{"vault", impact.vault},
                 {"path", impact.path},
                 {"reachable", impact.reachable},
                 {"recovery_points", impact.recovery_points},
                 {"versions", impact.versions}};
    if (!version.empty()) {
      form["role"] = impact.role_of(version);
      form["needs_version"] = impact.needs(version);
    }
    if (!impact.reachable) form["problem"] = error_to_json_form(impact.problem);
    vaults.push_back(std::move(form));
  }
  return vaults;
}

// The ids to tell of: what the key vault lists, and what vaults need beyond that.
std::vector<std::string> told_versions(const std::vector<std::string>& listed, const KeyRef& key,
                                       const std::vector<VaultImpact>& impacts) {
  if (key.version) return {*key.version};
  std::vector<std::string> told = listed;
  for (const VaultImpact& impact : impacts) {
    for (const json& record : impact.versions) {
      const std::string version = record.value("version", "");
      if (std::find(told.begin(), told.end(), version) == told.end()) told.push_back(version);
    }
  }
  return told;
}

}  // namespace

Result<int> key_impact(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  // What vaults need can be told without the key vault; with it also of versions that they have under another name.
  std::vector<std::string> listed;
  const auto key_vault = open_key_vault(context, key);
  const auto infos =
      key_vault.ok() ? (*key_vault)->list_versions(key.key) : Result<std::vector<KeyVersionInfo>>(key_vault.error());
  if (infos.ok()) {
    for (const KeyVersionInfo& info : *infos) listed.push_back(info.id);
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts,
                           find_impact(context, key, key.version ? std::vector<std::string>() : listed));
  if (!infos.ok()) {
    if (impacts.empty()) return infos.error();
    tell("vaultctl: note: the key can't be looked at: %s: %s\n", std::string(error_name(infos.code())).c_str(),
         infos.error().message.c_str());
  }
  print(context, {{"vaults", impact_to_json(impacts, key.version.value_or(""))}}, [&] {
    if (impacts.empty()) say("No vault of this machine uses %s/%s.\n", key.key_vault.c_str(), key.key.c_str());
    std::vector<std::vector<std::string>> rows;
    for (const VaultImpact& found : impacts) {
      const std::vector<std::string> told = told_versions(listed, key, impacts);
      if (told.empty()) rows.push_back({visible_text(found.path), "any", "unknown", "unknown", "must stay"});
      for (const std::string& version : told) {
        const std::string role = found.role_of(version);
        if (role == "not used" && !key.version) continue;
        rows.push_back(
            {visible_text(found.path), visible_text(version), role,
             found.reachable ? std::to_string(found.recovery_points) : "unknown",
             found.needs(version) ? "must stay enabled" : "may be disabled (older copies of the vault still need it)"});
      }
    }
    if (!rows.empty()) print_table({"VAULT", "VERSION", "ROLE", "POINTS", "SO IT"}, rows);
  });
  return 0;
}

Result<int> key_disable(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, pinned_key(arguments));
  const auto disable = [&key](AdministeredKeyVault& key_vault) {
    return key_vault.set_enabled(key.key, *key.version, false);
  };
  const auto enable = [&key](AdministeredKeyVault& key_vault) {
    return key_vault.set_enabled(key.key, *key.version, true);
  };
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, {key, "key.disable", disable, enable}));
  print(context, {{"version", *key.version}, {"enabled", false}, {"overridden", overridden}}, [&] {
    say("Disabled %s. It can be enabled again: vaultctl key enable %s\n", arguments.key.c_str(), arguments.key.c_str());
  });
  return 0;
}

Result<int> key_delete(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  const auto remove = [&key](AdministeredKeyVault& key_vault) { return key_vault.delete_key(key.key); };
  const auto recover = [&key](AdministeredKeyVault& key_vault) { return key_vault.recover_key(key.key); };
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, {key, "key.delete", remove, recover}));
  print(context, {{"key", key.to_string()}, {"deleted", true}, {"overridden", overridden}}, [&] {
    say("Deleted %s with all its versions. Where the key vault has soft delete: vaultctl key recover %s\n",
        arguments.key.c_str(), arguments.key.c_str());
  });
  return 0;
}

}  // namespace vaultfs
