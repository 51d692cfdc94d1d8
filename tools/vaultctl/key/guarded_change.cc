#include "tools/vaultctl/key/guarded_change.h"

#include <cstdio>

#include "tools/vaultctl/audited.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// Writes an override into the activity log of each vault it concerns. A vault that can't be asked is left out: the
// machine's audit log has the record too.
void record_override(CommandContext& context, const std::vector<VaultImpact>& needing, const GuardedChange& what,
                     const std::string& outcome, const std::string& detail, bool quiet) {
  for (const VaultImpact& impact : needing) {
    if (!impact.reachable) continue;
    VaultRequest record{impact.path, "activity.record"};
    record.arguments = {{"operation", what.operation + ".override"},
                        {"outcome", outcome},
                        {"subject", what.activity_subject},
                        {"detail", detail}};
    const auto recorded = request(context, std::move(record));
    if (!recorded.ok() && !quiet) {
      tell("vaultctl: note: not in the activity log of %s: %s\n", impact.path.c_str(),
           recorded.error().message.c_str());
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
  for (const VaultImpact& impact : asked.impacts) {
    const auto glance = glance_at_vault(machine.env(), impact.path);
    if (glance.ok() && glance->keyring_generation.value == impact.keyring_generation) continue;
    if (!impact.reachable) continue;  // what can't be asked has no generation to compare
    return changed_meanwhile("the keys of " + impact.path);
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

Result<bool> change_unless_needed(CommandContext& context, const AskedVaults& asked, const GuardedChange& what) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  if (asked.needing.empty()) {
    VAULTFS_RETURN_IF_ERROR(audited<Status>(*machine, what.operation, what.subject, [&] {
      return locked(what.key_vault, [&] { return change_if_unchanged(*machine, asked, what); });
    }));
    return false;
  }
  if (!what.overridden) {
    note_refusal(*machine, what.operation, what.subject + " still needed");
    return what.refusal;
  }
  const std::string operation = what.operation + ".override";
  // Before, because afterwards the vaults may not be able to write it down any more.
  VAULTFS_RETURN_IF_ERROR(machine->state().audit(operation, what.subject));
  record_override(context, asked.needing, what, "Requested", "to be done although it is needed", false);
  const Status changed = locked(what.key_vault, what.change);
  const std::string outcome = changed.ok() ? "Succeeded" : std::string(error_name(changed.code()));
  note_audit(*machine, what.operation, what.subject + " " + outcome);
  record_override(context, asked.needing, what, outcome, "done although it was needed", true);
  VAULTFS_RETURN_IF_ERROR(changed);
  return true;
}

}  // namespace vaultfs
