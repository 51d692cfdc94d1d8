#include "tools/api/keys/guarded_change.h"

#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// Writes an override into the activity log of each vault it concerns. A vault that can't be asked is left out: the
// machine's audit log has the record too.
void record_override(const MachineContext& context, const std::vector<VaultNeed>& needing, const GuardedChange& what,
                     const std::string& outcome, const std::string& detail, bool quiet) {
  for (const VaultNeed& need : needing) {
    if (!need.reachable) continue;
    ActivityEntry entry;
    entry.operation = what.operation + ".override";
    entry.outcome = outcome;
    entry.subject = what.activity_subject;
    entry.detail = detail;
    const Status recorded = context.vaults.record(need.path, entry);
    if (!recorded.ok() && !quiet) {
      context.tell({Notice::Kind::not_in_activity_log, need.path, recorded.error()});
    }
  }
}

Error changed_meanwhile(const std::string& what) {
  return {ErrorCode::TryAgain, what + " changed meanwhile; nothing was changed, try again"};
}

// Whether what the vaults said still holds, without asking them again: the same registrations, the same keyrings. For
// use under the key vault's lock; reads files only.
Status check_unchanged(Machine& machine, const AskedVaults& asked) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> now, machine.state().registrations());
  if (now != asked.registrations) return changed_meanwhile("the machine's list of vaults");
  for (const VaultNeed& need : asked.asked) {
    const auto glance = glance_at_vault(machine.env(), need.path);
    if (glance.ok() && glance->keyring_generation.value == need.keyring_generation) continue;
    if (!need.reachable) continue;  // what can't be asked has no generation to compare
    return changed_meanwhile("the keys of " + need.path);
  }
  return ok_status();
}

// A vault puts a version on the list before it proves that the version opens it. So one that took the version up while
// it was being withdrawn is on the list by now, or has failed.
Status change_if_unchanged(Machine& machine, const AskedVaults& asked, const GuardedChange& what) {
  VAULTFS_RETURN_IF_ERROR(check_unchanged(machine, asked));
  VAULTFS_RETURN_IF_ERROR(what.change());
  const auto now = machine.state().registrations();
  if (!what.undo || (now.ok() && *now == asked.registrations)) return ok_status();
  const Status undone = what.undo();
  if (!undone.ok()) return with_context(undone.error(), "a vault changed meanwhile, and taking it back failed");
  return changed_meanwhile("the machine's list of vaults");
}

// Others than local key vaults are changed by anybody at any time: there the check is only as good as the moment.
Status locked(LocalKeyVault* key_vault, const std::function<Status()>& change) {
  return key_vault == nullptr ? change() : key_vault->with_lock(change);
}

}  // namespace

Result<Withdrawn> change_unless_needed(const MachineContext& context, const AskedVaults& asked,
                                       const GuardedChange& what) {
  Machine& machine = context.machine;
  if (asked.needing.empty()) {
    VAULTFS_RETURN_IF_ERROR(audited<Status>(context, what.operation, what.subject, [&] {
      return locked(what.key_vault, [&] { return change_if_unchanged(machine, asked, what); });
    }));
    return Withdrawn::done;
  }
  if (!what.although_needed) {
    note_refusal(context, what.operation, what.subject + " still needed");
    return Withdrawn::refused;
  }
  const std::string operation = what.operation + ".override";
  // Before, because afterwards the vaults may not be able to write it down any more.
  VAULTFS_RETURN_IF_ERROR(machine.state().audit(operation, what.subject));
  record_override(context, asked.needing, what, "Requested", "to be done although it is needed", false);
  const Status changed = locked(what.key_vault, what.change);
  const std::string outcome = changed.ok() ? "Succeeded" : std::string(error_name(changed.code()));
  note_audit(context, what.operation, what.subject + " " + outcome);
  record_override(context, asked.needing, what, outcome, "done although it was needed", true);
  VAULTFS_RETURN_IF_ERROR(changed);
  return Withdrawn::done_although_needed;
}

}  // namespace vaultfs
