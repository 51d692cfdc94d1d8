#include "tools/vaultctl/key/key_withdrawal.h"

#include <algorithm>

#include "base/visible_text.h"
#include "tools/vaultctl/key/guarded_change.h"
#include "tools/vaultctl/key/key_impact.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// What the key vault lists behind `version` and a vault could take up: the vault has not noticed it yet.
bool has_newer(const std::vector<KeyVersionInfo>& listed, const std::string& version) {
  const auto at = std::ranges::find(listed, version, &KeyVersionInfo::id);
  const std::int64_t now = system_clock().now().seconds();
  return at != listed.end() &&
         std::any_of(at + 1, listed.end(), [now](const KeyVersionInfo& info) { return info.may_wrap(now); });
}

// What lets a vault do without the version.
std::string advice(const VaultImpact& impact, const KeyRef& key, const json& record,
                   const std::vector<KeyVersionInfo>& listed) {
  const std::string refresh = "vaultctl encryption refresh " + visible_text(impact.path);
  const std::string its_key = visible_text(record.value("key", key.key_vault + "/" + key.key));
  if (record.value("role", "") == "Retiring") {
    const std::string reason = record.value("waiting_for", "");
    return (record.value("backup_completed", false)
                ? "; its backup has completed, so it retires with a refresh: " + refresh
                : "; it retires when the next backup has completed: vaultctl backup run or backup commit") +
           (reason.empty() ? "" : ". It waits for this: " + visible_text(reason));
  }
  if (impact.follows_new_versions && has_newer(listed, *key.version)) {
    return "; the vault has not taken up the newer version yet: " + refresh + ", then a backup";
  }
  return "; let another version take effect first: vaultctl key rotate " + its_key +
         ", or vaultctl encryption set if the vault is pinned to this one";
}

std::string line_of(const VaultImpact& impact, const KeyRef& key, const std::vector<KeyVersionInfo>& listed) {
  if (!impact.reachable) {
    return unreachable_text(impact) + ", so it counts as needing every version; " + unreachable_advice(impact);
  }
  const std::string role = key.version ? impact.role_of(*key.version) : "versions Active or Retiring";
  std::string text = role + ", " + std::to_string(impact.recovery_points) + " recovery points";
  const json* record = key.version ? impact.record_of(*key.version) : nullptr;
  if (record != nullptr) {
    const std::string known_as = record->value("key", "");
    if (known_as != key.key_vault + "/" + key.key) {
      text += ", as " + visible_text(known_as) + "/" + *key.version;
      if (record->value("in_doubt", false)) text += ", which may be the same key vault: that can't be told";
    }
    text += advice(impact, key, *record, listed);
  }
  if (!key.version) text += "; move it to another key first: vaultctl encryption set";
  return text;
}

std::string refusal_text(const KeyRef& key, const std::vector<VaultImpact>& needing,
                         const std::vector<KeyVersionInfo>& listed) {
  const std::string name = key.key_vault + "/" + key.key;
  std::string text = key.version ? "version " + *key.version + " of " + name : "the key " + name;
  text += " is still needed:";
  for (const VaultImpact& impact : needing)
    text += "\n  " + visible_text(impact.path) + ": " + line_of(impact, key, listed);
  text += "\nAll of that would become unreadable. To do it all the same: --override " + key.key;
  return text;
}

}  // namespace

Result<bool> withdraw(CommandContext& context, const KeyArguments& arguments, const Withdrawal& what) {
  const KeyRef& key = what.key;
  if (!arguments.override_name.empty() && arguments.override_name != key.key) {
    return Error{ErrorCode::Usage,
                 "--override wants the key's name, " + key.key + ", so that it is not given by mistake"};
  }
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  // A deleted key lists none; by its name it is found all the same.
  std::vector<KeyVersionInfo> listed;
  auto infos = key_vault->list_versions(key.key);
  if (infos.ok()) listed = std::move(infos).value();
  if (!infos.ok() && !key.version && infos.code() != ErrorCode::KeyNotFound) return std::move(infos).error();
  std::vector<std::string> versions;
  if (key.version) {
    versions.push_back(*key.version);
  } else {
    for (const KeyVersionInfo& info : listed) versions.push_back(info.id);
  }
  // The vaults are asked without the key vault's lock; under it, everything they said must still hold.
  AskedVaults asked;
  VAULTFS_ASSIGN_OR_RETURN(asked.registrations, machine->state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(asked.impacts, find_impact(context, key, versions));
  for (const VaultImpact& found : asked.impacts) {
    if (key.version ? found.needs(*key.version) : found.needs_any()) asked.needing.push_back(found);
  }
  GuardedChange change;
  change.operation = what.operation;
  change.subject = key.to_string();
  change.activity_subject = key.version ? *key.version : key.to_string();
  change.overridden = !arguments.override_name.empty();
  change.refusal = {ErrorCode::KeyVersionInUse, refusal_text(key, asked.needing, listed)};
  change.key_vault = dynamic_cast<LocalKeyVault*>(key_vault.get());
  change.change = [&] { return what.change(*key_vault); };
  if (what.undo) change.undo = [&] { return what.undo(*key_vault); };
  return change_unless_needed(context, asked, change);
}

}  // namespace vaultfs
