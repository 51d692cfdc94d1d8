#include "tools/api/keys/identity_withdrawal.h"

#include "tools/api/keys/who_uses_identity.h"

namespace vaultfs {

Result<IdentityWithdrawalAnswer> withdraw_identity(const MachineContext& context,
                                                   const IdentityWithdrawalRequest& request) {
  IdentityStore& identities = context.machine.identities();
  const bool disable = request.what == IdentityWithdrawal::disable;
  VAULTFS_ASSIGN_OR_RETURN(const Identity identity, identities.find(request.identity));
  IdentityWithdrawalAnswer answer{Withdrawn::done, identity, {}};
  if (disable && !identity.enabled) return answer;
  AskedVaults asked;
  VAULTFS_ASSIGN_OR_RETURN(asked.registrations, context.machine.state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(asked.asked, who_uses_identity(context, identity));
  asked.needing = asked.asked;
  answer.users = asked.asked;
  GuardedChange guarded;
  guarded.operation = disable ? "identity.disable" : "identity.delete";
  guarded.subject = identity.id;
  guarded.activity_subject = identity.id;
  guarded.although_needed = request.although_needed;
  if (disable) {
    guarded.change = [&] { return identities.set_enabled(identity, false); };
    guarded.undo = [&] { return identities.set_enabled(identity, true); };
  } else {
    guarded.change = [&] { return identities.remove(identity); };
  }
  VAULTFS_ASSIGN_OR_RETURN(answer.outcome, change_unless_needed(context, asked, guarded));
  if (disable && answer.outcome != Withdrawn::refused) answer.identity.enabled = false;
  return answer;
}

}  // namespace vaultfs
