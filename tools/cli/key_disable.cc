// vaultctl key impact|disable|delete: what the vaults of this machine need.

#include <algorithm>
#include <functional>

#include "tools/cli/key_arguments.h"
#include "tools/cli/key_impact.h"
#include "tools/cli/text_output.h"
#include "tools/requests/json_forms.h"
#include "vaultmeta/vault.h"

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

// Writes the outcome of a decision about a version into the activity log of each vault it concerns. A vault that can't
// be asked is left out: the machine's audit log has the record too.
void record_decision(CommandContext& context, const std::vector<VaultImpact>& impacts, const std::string& version,
                     const std::string& operation, const std::string& outcome, const std::string& detail) {
  for (const VaultImpact& impact : impacts) {
    if (!impact.reachable) continue;
    VaultRequest record{impact.path, "activity.record"};
    record.arguments = {{"operation", operation}, {"outcome", outcome}, {"subject", version}, {"detail", detail}};
    const auto recorded = request(context, std::move(record));
    if (!recorded.ok()) {
      std::fprintf(stderr, "vaultctl: note: not in the activity log of %s: %s\n", impact.path.c_str(),
                   recorded.error().message.c_str());
    }
  }
}

// What is to be withdrawn: one version, or (without one) the key with all of them.
std::string refusal_text(const KeyRef& key, const std::vector<VaultImpact>& needing) {
  const std::string name = key.key_vault + "/" + key.key;
  std::string text = key.version ? "version " + *key.version + " of " + name : "the key " + name;
  text += " is still needed:";
  for (const VaultImpact& impact : needing) {
    text += "\n  " + impact.path + ": ";
    if (!impact.reachable) {
      text += "can't be asked (" + std::string(error_name(impact.problem.code)) +
              "), so it counts as needing every version; `vaultctl vault forget` drops a vault that is gone";
      continue;
    }
    const std::string role = key.version ? impact.role_of(*key.version) : "versions Active or Retiring";
    text += role + ", " + std::to_string(impact.recovery_points) + " recovery points";
    if (role == "Retiring")
      text += "; it retires when the next backup has completed: vaultctl backup run or backup commit";
    if (role == "Active") text += "; rotate first: vaultctl key rotate " + name;
    if (!key.version) text += "; move it to another key first: vaultctl encryption set";
  }
  text += "\nAll of that would become unreadable. To do it all the same: --override " + key.key;
  return text;
}

// Whether what the vaults said still holds, without asking them again: the same registrations, the same keyrings. For
// use under the key vault's lock; reads files only.
Status check_unchanged(Machine& machine, const std::vector<Registration>& registrations,
                       const std::vector<VaultImpact>& impacts) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> now, machine.state().registrations());
  if (now != registrations)
    return Error{ErrorCode::TryAgain, "a vault was registered or changed meanwhile; nothing was changed, try again"};
  for (const VaultImpact& impact : impacts) {
    const auto glance = glance_at_vault(machine.env(), impact.path);
    if (glance.ok() && glance->keyring_generation.value == impact.keyring_generation) continue;
    return Error{ErrorCode::TryAgain,
                 "the keys of " + impact.path + " changed meanwhile; nothing was changed, try again"};
  }
  return ok_status();
}

// Runs the change under the key vault's lock where it has one. Others are changed by anybody at any time: there the
// check is only as good as the moment.
Status locked(AdministeredKeyVault& key_vault, const std::function<Status()>& change) {
  auto* local = dynamic_cast<LocalKeyVault*>(&key_vault);
  return local == nullptr ? change() : local->with_lock(change);
}

struct Withdrawal {
  KeyRef key;             // with a version: that one; without: the key
  std::string operation;  // "key.disable", "key.delete"
  std::function<Status(AdministeredKeyVault&)> change;
};

// Checks the vaults that need it, then changes: true if it was needed and overridden. Architecture, rule 4.
Result<bool> withdraw(CommandContext& context, const KeyArguments& arguments, const Withdrawal& what) {
  const KeyRef& key = what.key;
  if (!arguments.override_name.empty() && arguments.override_name != key.key) {
    return Error{ErrorCode::Usage,
                 "--override wants the key's name, " + key.key + ", so that it is not given by mistake"};
  }
  const bool overridden = !arguments.override_name.empty();
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  std::vector<std::string> versions;
  if (key.version) {
    versions.push_back(*key.version);
  } else {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> infos, key_vault->list_versions(key.key));
    for (const KeyVersionInfo& info : infos) versions.push_back(info.id);
  }
  // The vaults are asked without the key vault's lock; under it, everything they said must still hold.
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts, find_impact(context, key, versions));
  std::vector<VaultImpact> needing;
  for (const VaultImpact& found : impacts) {
    if (key.version ? found.needs(*key.version) : found.needs_any()) needing.push_back(found);
  }
  const std::string subject = key.version ? *key.version : key.to_string();
  if (!needing.empty() && !overridden) {
    record_decision(context, needing, subject, what.operation, "Refused", "still needed");
    return Error{ErrorCode::KeyVersionInUse, refusal_text(key, needing)};
  }
  VAULTFS_RETURN_IF_ERROR(locked(*key_vault, [&]() -> Status {
    const Status unchanged = overridden ? ok_status() : check_unchanged(*machine, registrations, impacts);
    if (!unchanged.ok()) return unchanged;
    return what.change(*key_vault);
  }));
  if (!overridden) return false;
  VAULTFS_RETURN_IF_ERROR(machine->state().audit(what.operation + ".override", key.to_string()));
  record_decision(context, needing, subject, what.operation + ".override", "Succeeded", "done although it was needed");
  return !needing.empty();
}

}  // namespace

Result<int> key_impact(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, key_vault->list_versions(key.key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts, find_impact(context, key));
  print(context, {{"vaults", impact_to_json(impacts, key.version.value_or(""))}}, [&] {
    if (impacts.empty()) std::printf("No vault of this machine uses %s/%s.\n", key.key_vault.c_str(), key.key.c_str());
    std::vector<std::vector<std::string>> rows;
    for (const VaultImpact& found : impacts) {
      for (const KeyVersionInfo& version : versions) {
        if (key.version && version.id != *key.version) continue;
        const std::string role = found.role_of(version.id);
        if (role == "not used" && !key.version) continue;
        rows.push_back({found.path, version.id, role,
                        found.reachable ? std::to_string(found.recovery_points) : "unknown",
                        found.needs(version.id) ? "must stay enabled"
                                                : "may be disabled (older copies of the vault still need it)"});
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
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, {key, "key.disable", disable}));
  print(context, {{"version", *key.version}, {"enabled", false}, {"overridden", overridden}}, [&] {
    std::printf("Disabled %s. It can be enabled again: vaultctl key enable %s\n", arguments.key.c_str(),
                arguments.key.c_str());
  });
  return 0;
}

Result<int> key_delete(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  const auto remove = [&key](AdministeredKeyVault& key_vault) { return key_vault.delete_key(key.key); };
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, withdraw(context, arguments, {key, "key.delete", remove}));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_RETURN_IF_ERROR(machine->state().audit("key.delete", key.to_string()));
  print(context, {{"key", key.to_string()}, {"deleted", true}, {"overridden", overridden}}, [&] {
    std::printf("Deleted %s with all its versions. Where the key vault has soft delete: vaultctl key recover %s\n",
                arguments.key.c_str(), arguments.key.c_str());
  });
  return 0;
}

}  // namespace vaultfs
