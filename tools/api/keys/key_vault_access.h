#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/access_policy.h"
#include "tools/api/keys/guarded_change.h"
#include "tools/api/keys/machine_context.h"

namespace vaultfs {

// Whom a local key vault lets in. An access that a vault needs is taken away only if somebody confirmed it.
struct AllowRequest {
  std::string key_vault;
  std::string identity;  // its id, or the name of a user-assigned one
  KeyPermissions permissions;
  bool enforce = false;  // also in a key vault that lets everybody in until now: that shuts out all the others
  bool although_needed = false;
};
struct DenyRequest {
  std::string key_vault;
  std::string identity;  // one that is gone can still be denied, by its id
  bool although_needed = false;
};
struct AccessAnswer {
  Withdrawn outcome;
  std::string identity;           // id
  std::string description;        // of the identity, for people
  bool shuts_out_others = false;  // it is all other identities that lose their access
  std::vector<VaultNeed> needing;
};

// KeyVaultNotFound, NotSupportedByProvider, IdentityNotFound; TryAgain if a vault's keys changed meanwhile. It is in
// the machine's audit log before anything changes, or nothing changes.
[[nodiscard]] Result<AccessAnswer> allow_identity(const MachineContext& context, const AllowRequest& request);
[[nodiscard]] Result<AccessAnswer> deny_identity(const MachineContext& context, const DenyRequest& request);

}  // namespace vaultfs
