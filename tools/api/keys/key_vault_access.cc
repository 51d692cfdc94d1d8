#include "tools/api/keys/key_vault_access.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "crypto/keyvault/key_ref.h"
#include "tools/api/keys/opened_key_vault.h"
#include "tools/api/keys/who_uses_identity.h"

namespace vaultfs {
namespace {

// What the policies of a key vault are to become, and whom that shuts out: nobody, if `shuts_out` is empty.
struct AccessChange {
  std::string operation;
  VaultFilter shuts_out;
  std::function<Status()> change;
  std::function<Status()> undo;
};

Result<std::shared_ptr<LocalKeyVault>> open_named(Machine& machine, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  return open_local_key_vault(machine, name);
}

Status change_access(const MachineContext& context, const std::string& name, LocalKeyVault& key_vault,
                     bool although_needed, const AccessChange& what, AccessAnswer& answer) {
  AskedVaults asked;
  VAULTFS_ASSIGN_OR_RETURN(asked.registrations, context.machine.state().registrations());
  if (what.shuts_out) {
    VAULTFS_ASSIGN_OR_RETURN(asked.asked, who_needs_key_vault(context, name, what.shuts_out));
  }
  asked.needing = asked.asked;
  answer.needing = asked.asked;
  GuardedChange guarded;
  guarded.operation = what.operation;
  guarded.subject = name + " " + answer.identity;
  guarded.activity_subject = guarded.subject;
  guarded.although_needed = although_needed;
  guarded.key_vault = &key_vault;
  guarded.change = what.change;
  guarded.undo = what.undo;
  VAULTFS_ASSIGN_OR_RETURN(answer.outcome, change_unless_needed(context, asked, guarded));
  return ok_status();
}

// What that identity may do now; all, where a key vault lets everybody in.
Result<std::optional<AccessPolicy>> policy_of(LocalKeyVault& key_vault, const std::string& identity) {
  VAULTFS_ASSIGN_OR_RETURN(const auto policies, key_vault.access());
  if (!policies) return std::optional(AccessPolicy{identity, "", KeyPermissions::backup()});
  const auto found = std::ranges::find(*policies, identity, &AccessPolicy::identity);
  return found == policies->end() ? std::optional<AccessPolicy>() : std::optional(*found);
}

}  // namespace

Result<AccessAnswer> allow_identity(const MachineContext& context, const AllowRequest& request) {
  Machine& machine = context.machine;
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_named(machine, request.key_vault));
  VAULTFS_ASSIGN_OR_RETURN(const Identity identity, machine.identities().find(request.identity));
  VAULTFS_ASSIGN_OR_RETURN(const auto policies, key_vault->access());
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<AccessPolicy> before, policy_of(*key_vault, identity.id));
  const KeyPermissions permissions = request.permissions;
  const AccessPolicy policy{identity.id, identity.description(), permissions};
  AccessAnswer answer{Withdrawn::refused, identity.id, identity.description(), false, {}};
  AccessChange change{"keyvault.allow", {}, {}, {}};
  const bool fewer = before && (before->permissions | permissions) != permissions;
  // The first policy of a key vault that let everybody in shuts out all the others.
  const bool first = !policies && request.enforce;
  if (fewer && first) {
    change.shuts_out = [](const Registration&, const VaultNeed&) { return true; };
  } else if (fewer) {
    change.shuts_out = speaking_as(machine, identity);
  } else if (first) {
    answer.shuts_out_others = true;
    change.shuts_out = speaking_as_others(machine, identity);
  }
  change.change = [&] { return key_vault->allow(policy, request.enforce); };
  if (fewer && policies) change.undo = [&] { return key_vault->allow(*before, false); };
  VAULTFS_RETURN_IF_ERROR(
      change_access(context, request.key_vault, *key_vault, request.although_needed, change, answer));
  return answer;
}

Result<AccessAnswer> deny_identity(const MachineContext& context, const DenyRequest& request) {
  Machine& machine = context.machine;
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_named(machine, request.key_vault));
  const auto identity = machine.identities().find(request.identity);
  const bool gone = !identity.ok() && identity.code() == ErrorCode::IdentityNotFound;
  if (!identity.ok() && !(gone && is_identity_id(request.identity))) return identity.error();
  const std::string id = identity.ok() ? identity->id : request.identity;
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<AccessPolicy> before, policy_of(*key_vault, id));
  AccessAnswer answer{Withdrawn::refused, id, identity.ok() ? identity->description() : id, false, {}};
  AccessChange change{"keyvault.deny", {}, {}, {}};
  // Nobody speaks as one that is gone any more.
  if (identity.ok() && before) change.shuts_out = speaking_as(machine, *identity);
  change.change = [&] { return key_vault->deny(id); };
  if (before) change.undo = [&] { return key_vault->allow(*before, false); };
  VAULTFS_RETURN_IF_ERROR(
      change_access(context, request.key_vault, *key_vault, request.although_needed, change, answer));
  return answer;
}

}  // namespace vaultfs
