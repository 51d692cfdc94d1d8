#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "tools/api/keys/guarded_change.h"
#include "tools/api/keys/machine_context.h"

namespace vaultfs {

struct KeyVaultRemovalRequest {
  std::string name;
  bool although_needed = false;  // somebody confirmed that this machine opens these vaults no more
};
struct KeyVaultRemovalAnswer {
  Withdrawn outcome;
  bool local = false;              // it was deleted; else only this machine's registration went
  std::vector<VaultNeed> needing;  // the vaults that need a key in there
};

// Drops a registration, or deletes an empty local key vault. TryAgain if the machine's list of vaults changed
// meanwhile. It is in the machine's audit log before anything changes, or nothing changes.
[[nodiscard]] Result<KeyVaultRemovalAnswer> remove_key_vault(const MachineContext& context,
                                                             const KeyVaultRemovalRequest& request);

}  // namespace vaultfs
