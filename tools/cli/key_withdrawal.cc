#include "tools/cli/key_withdrawal.h"

#include <algorithm>

#include "tools/cli/key_impact.h"
#include "vaultmeta/vault.h"

namespace vaultfs {
namespace {

// Writes the outcome of a decision about a version into the activity log of each vault it concerns. A vault that can't
// be asked is left out: the machine's audit log has the record too.
void record_decision(CommandContext& context, const std::vector<VaultImpact>& impacts, const std::string& version,
                     const std::string& operation, const std::string& outcome, const std::string& detail,
                     bool quiet = false) {
  for (const VaultImpact& impact : impacts) {
    if (!impact.reachable) continue;
    VaultRequest record{impact.path, "activity.record"};
    record.arguments = {{"operation", operation}, {"outcome", outcome}, {"subject", version}, {"detail", detail}};
    const auto recorded = request(context, std::move(record));
    if (!recorded.ok() && !quiet) {
      static_cast<void>(std::fprintf(stderr, "vaultctl: note: not in the activity log of %s: %s\n", impact.path.c_str(),
                                     recorded.error().message.c_str()));
    }
  }
}

std::string refusal_text(const KeyRef& key, const std::vector<VaultImpact>& needing) {
  const std::string name = key.key_vault + "/" + key.key;
  std::string text = key.version ? "version " + *key.version + " of " + name : "the key " + name;
  text += " is still needed:";
  for (const VaultImpact& impact : needing) {
    text += "\n  " + impact.path + ": ";
    if (!impact.reachable) {
      text += unreachable_text(impact) + ", so it counts as needing every version; " + unreachable_advice(impact);
      continue;
    }
    const std::string role = key.version ? impact.role_of(*key.version) : "versions Active or Retiring";
    text += role + ", " + std::to_string(impact.recovery_points) + " recovery points";
    if (role == "Retiring") {
      text += "; it retires when the next backup has completed: vaultctl backup run or backup commit";
      const std::string reason = impact.waiting_for(*key.version);
      if (!reason.empty()) text += ". It waits for this: " + reason;
    }
    if (role == "Active") {
      text += "; let another version take effect first: vaultctl key rotate " + name +
              ", or vaultctl encryption set if the vault is pinned to this one";
    }
    if (!key.version) text += "; move it to another key first: vaultctl encryption set";
  }
  text += "\nAll of that would become unreadable. To do it all the same: --override " + key.key;
  return text;
}

Error changed_meanwhile(const std::string& what) {
  return {ErrorCode::TryAgain, what + " changed meanwhile; nothing was changed, try again"};
}

// Whether what the vaults said still holds, without asking them again: the same registrations, the same keyrings. For
// use under the key vault's lock; reads files only.
Status check_unchanged(Machine& machine, const std::vector<Registration>& registrations,
                       const std::vector<VaultImpact>& impacts) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> now, machine.state().registrations());
  if (now != registrations) return changed_meanwhile("the machine's list of vaults");
  for (const VaultImpact& impact : impacts) {
    const auto glance = glance_at_vault(machine.env(), impact.path);
    if (glance.ok() && glance->keyring_generation.value == impact.keyring_generation) continue;
    return changed_meanwhile("the keys of " + impact.path);
  }
  return ok_status();
}

// Runs the change under the key vault's lock where it has one. Others are changed by anybody at any time: there the
// check is only as good as the moment.
Status locked(AdministeredKeyVault& key_vault, const std::function<Status()>& change) {
  auto* local = dynamic_cast<LocalKeyVault*>(&key_vault);
  return local == nullptr ? change() : local->with_lock(change);
}

// A vault puts a version on the list before it proves that the version opens it. So one that took the version up while
// it was being withdrawn is on the list by now, or has failed.
Status change_unless_needed(Machine& machine, AdministeredKeyVault& key_vault, const Withdrawal& what,
                            const std::vector<Registration>& registrations, const std::vector<VaultImpact>& impacts) {
  VAULTFS_RETURN_IF_ERROR(check_unchanged(machine, registrations, impacts));
  VAULTFS_RETURN_IF_ERROR(what.change(key_vault));
  const auto now = machine.state().registrations();
  if (!what.undo || (now.ok() && *now == registrations)) return ok_status();
  const Status undone = what.undo(key_vault);
  if (!undone.ok()) return with_context(undone.error(), "a vault changed meanwhile, and taking it back failed");
  return changed_meanwhile("the machine's list of vaults");
}

// The ids of the versions concerned. A deleted key lists none; by its name it is found all the same.
Result<std::vector<std::string>> versions_of(AdministeredKeyVault& key_vault, const KeyRef& key) {
  std::vector<std::string> versions;
  if (key.version) {
    versions.push_back(*key.version);
    return versions;
  }
  const auto infos = key_vault.list_versions(key.key);
  if (!infos.ok() && infos.code() != ErrorCode::KeyNotFound) return infos.error();
  if (infos.ok()) {
    for (const KeyVersionInfo& info : *infos) versions.push_back(info.id);
  }
  return versions;
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
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> versions, versions_of(*key_vault, key));
  // The vaults are asked without the key vault's lock; under it, everything they said must still hold.
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts, find_impact(context, key, versions));
  std::vector<VaultImpact> needing;
  for (const VaultImpact& found : impacts) {
    if (key.version ? found.needs(*key.version) : found.needs_any()) needing.push_back(found);
  }
  const std::string subject = key.version ? *key.version : key.to_string();
  if (!needing.empty() && arguments.override_name.empty()) {
    record_decision(context, needing, subject, what.operation, "Refused", "still needed");
    return Error{ErrorCode::KeyVersionInUse, refusal_text(key, needing)};
  }
  if (needing.empty()) {
    VAULTFS_RETURN_IF_ERROR(
        locked(*key_vault, [&] { return change_unless_needed(*machine, *key_vault, what, registrations, impacts); }));
    note_audit(*machine, what.operation, key.to_string());
    return false;
  }
  const std::string operation = what.operation + ".override";
  // Before, because afterwards the vaults may not be able to write it down any more.
  VAULTFS_RETURN_IF_ERROR(machine->state().audit(operation, key.to_string()));
  record_decision(context, needing, subject, operation, "Requested", "to be done although it is needed");
  const Status changed = locked(*key_vault, [&] { return what.change(*key_vault); });
  const std::string outcome = changed.ok() ? "Succeeded" : std::string(error_name(changed.code()));
  note_audit(*machine, what.operation, key.to_string() + " " + outcome);
  record_decision(context, needing, subject, operation, outcome, "done although it was needed", true);
  VAULTFS_RETURN_IF_ERROR(changed);
  return true;
}

}  // namespace vaultfs
