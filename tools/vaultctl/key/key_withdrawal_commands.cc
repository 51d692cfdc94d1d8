// vaultctl key impact|disable|delete|purge: what the vaults of this machine need.

#include <algorithm>

#include "base/visible_text.h"
#include "tools/api/keys/key_withdrawal.h"
#include "tools/api/keys/who_needs_key_json.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/key/refusal_text.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

// The ids to tell of: what the key vault lists, and what vaults need beyond that.
std::vector<std::string> told_versions(const std::vector<std::string>& listed, const KeyRef& key,
                                       const std::vector<VaultNeed>& needs) {
  if (key.version) return {*key.version};
  std::vector<std::string> told = listed;
  for (const VaultNeed& need : needs) {
    for (const UsedVersion& used : need.versions) {
      const std::string& version = used.record.version;
      if (std::ranges::find(told, version) == told.end()) told.push_back(version);
    }
  }
  return told;
}

// True if vaults needed it.
Result<bool> withdraw(CommandContext& context, const KeyArguments& arguments, const KeyRef& key, KeyWithdrawal what) {
  VAULTFS_RETURN_IF_ERROR(check_override(arguments.override_name, key.key, "the key's name, "));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const KeyWithdrawalAnswer answer,
                           withdraw_key(machine, {key, what, !arguments.override_name.empty()}));
  if (answer.outcome == Withdrawn::refused) return refusal_of_key(key, answer.needing);
  return answer.outcome == Withdrawn::done_although_needed;
}

}  // namespace

Result<int> key_impact(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  // What vaults need can be told without the key vault; with it also of versions that they have under another name.
  std::vector<std::string> listed;
  const auto key_vault = key_vault_of(context, key);
  const auto infos =
      key_vault.ok() ? (*key_vault)->list_versions(key.key) : Result<std::vector<KeyVersionInfo>>(key_vault.error());
  if (infos.ok()) {
    for (const KeyVersionInfo& info : *infos) listed.push_back(info.id);
  }
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultNeed> needs,
                           who_needs_key(machine, key, key.version ? std::vector<std::string>() : listed));
  if (!infos.ok()) {
    if (needs.empty()) return infos.error();
    tell("vaultctl: note: the key can't be looked at: %s: %s\n", std::string(error_name(infos.code())).c_str(),
         infos.error().message.c_str());
  }
  print(context, to_json(needs, key.version.value_or("")), [&] {
    if (needs.empty()) say("No vault of this machine uses %s/%s.\n", key.key_vault.c_str(), key.key.c_str());
    std::vector<std::vector<std::string>> rows;
    for (const VaultNeed& need : needs) {
      const std::vector<std::string> told = told_versions(listed, key, needs);
      if (told.empty()) rows.push_back({visible_text(need.path), "any", "unknown", "unknown", "must stay"});
      for (const std::string& version : told) {
        const VersionUse use = need.use_of(version);
        if (use == VersionUse::not_used && !key.version) continue;
        rows.push_back(
            {visible_text(need.path), visible_text(version), std::string(use_name(use)),
             need.reachable ? std::to_string(need.recovery_points) : "unknown",
             need.needs(version) ? "must stay enabled" : "may be disabled (older copies of the vault still need it)"});
      }
    }
    if (!rows.empty()) print_table({"VAULT", "VERSION", "ROLE", "POINTS", "SO IT"}, rows);
  });
  return 0;
}

Result<int> key_disable(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, pinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, key, KeyWithdrawal::disable));
  print(context, {{"version", *key.version}, {"enabled", false}, {"overridden", overridden}}, [&] {
    say("Disabled %s. It can be enabled again: vaultctl key enable %s\n", arguments.key.c_str(), arguments.key.c_str());
  });
  return 0;
}

Result<int> key_delete(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, key, KeyWithdrawal::remove));
  print(context, {{"key", key.to_string()}, {"deleted", true}, {"overridden", overridden}}, [&] {
    say("Deleted %s with all its versions. Where the key vault has soft delete: vaultctl key recover %s\n",
        arguments.key.c_str(), arguments.key.c_str());
  });
  return 0;
}

Result<int> key_purge(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, key, KeyWithdrawal::purge));
  print(context, {{"key", key.to_string()}, {"purged", true}, {"overridden", overridden}},
        [&] { say("Destroyed %s for good.\n", arguments.key.c_str()); });
  return 0;
}

}  // namespace vaultfs
