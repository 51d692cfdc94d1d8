#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "tools/api/keys/guarded_change.h"
#include "tools/api/keys/machine_context.h"
#include "tools/api/keys/who_needs_key.h"

namespace vaultfs {

// Taking a key version, or a key with all its versions, away from those who need it.
enum class KeyWithdrawal : std::uint8_t {
  disable,  // one version; it can be enabled again
  remove,   // the key; where its key vault has soft delete it can be recovered
  purge,    // the key, deleted before, for good
};
struct KeyWithdrawalRequest {
  KeyRef key;  // with a version to disable it, else without
  KeyWithdrawal what = KeyWithdrawal::disable;
  bool although_needed = false;  // somebody confirmed that the vaults may lose it
};

// What lets a vault do without the key.
enum class WayOut : std::uint8_t {
  ask_again,            // the vault can't be asked: it is to be found, or forgotten
  refresh,              // its backup has completed: the version retires with a refresh
  complete_backup,      // the version retires when the next backup has completed
  refresh_then_backup,  // it has not taken up the newer version yet
  another_version,      // there is none yet: rotate, or let go of the pinned one
  another_key,          // the key is to go as a whole
};
struct NeedingVault {
  VaultNeed need;
  WayOut way_out;
};
struct KeyWithdrawalAnswer {
  Withdrawn outcome;
  std::vector<NeedingVault> needing;  // those that needed it
};

// Asks the vaults that may need it, then changes. Architecture, rule 4. TryAgain if a vault's keys changed meanwhile.
// It is in the machine's audit log before anything changes, or nothing changes. KeyVaultNotFound; InvalidKeyRef if the
// version is missing, or one too many.
[[nodiscard]] Result<KeyWithdrawalAnswer> withdraw_key(const MachineContext& context,
                                                       const KeyWithdrawalRequest& request);

}  // namespace vaultfs
