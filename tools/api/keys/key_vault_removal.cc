#include "tools/api/keys/key_vault_removal.h"

#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/provider_table.h"

namespace vaultfs {

Result<KeyVaultRemovalAnswer> remove_key_vault(const MachineContext& context, const KeyVaultRemovalRequest& request) {
  Machine& machine = context.machine;
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", request.name));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine.state().registrations());
  KeyVaultRemovalAnswer answer{Withdrawn::refused, false, {}};
  VAULTFS_ASSIGN_OR_RETURN(answer.needing, who_needs_key_vault(context, request.name));
  const bool overridden = request.although_needed && !answer.needing.empty();
  if (!answer.needing.empty() && !overridden) {
    note_refusal(context, "keyvault.remove", request.name + " still needed");
    return answer;
  }
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, machine.registry().find(request.name));
  answer.local = entry.provider == kLocalProvider;
  // A vault that takes a key up puts it on the list before it proves that it can use it.
  const auto still_right = [&]() -> Status {
    if (overridden) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> now, machine.state().registrations());
    if (now == registrations) return ok_status();
    return Error{ErrorCode::TryAgain, "the machine's list of vaults changed meanwhile; nothing was removed, try again"};
  };
  VAULTFS_RETURN_IF_ERROR(audited<Status>(context, overridden ? "keyvault.remove.override" : "keyvault.remove",
                                          request.name,
                                          [&] { return machine.registry().remove(request.name, still_right); }));
  answer.outcome = overridden ? Withdrawn::done_although_needed : Withdrawn::done;
  return answer;
}

}  // namespace vaultfs
