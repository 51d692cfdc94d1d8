#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/api/keys/guarded_change.h"
#include "tools/api/keys/machine_context.h"
#include "vaultmeta/machine/identity_store.h"

namespace vaultfs {

// Taking an identity away from the vaults that speak as it.
enum class IdentityWithdrawal : std::uint8_t {
  disable,  // it can be enabled again
  remove,   // one that is made again under the same name is another: nothing takes this back
};
struct IdentityWithdrawalRequest {
  std::string identity;  // its id, or the name of a user-assigned one
  IdentityWithdrawal what = IdentityWithdrawal::disable;
  bool although_needed = false;  // somebody confirmed that it is a revocation for these vaults
};
struct IdentityWithdrawalAnswer {
  Withdrawn outcome;
  Identity identity;             // as it is now, or was before it went
  std::vector<VaultNeed> users;  // the vaults that speak as it
};

// Asks the vaults, then changes. To disable one that is disabled asks nobody. IdentityNotFound; TryAgain if a vault's
// keys changed meanwhile. It is in the machine's audit log before anything changes, or nothing changes.
[[nodiscard]] Result<IdentityWithdrawalAnswer> withdraw_identity(const MachineContext& context,
                                                                 const IdentityWithdrawalRequest& request);

}  // namespace vaultfs
