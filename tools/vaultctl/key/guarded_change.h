#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "tools/vaultctl/key/key_impact.h"

namespace vaultfs {

// What the vaults of this machine said before something is taken away from them.
struct AskedVaults {
  std::vector<Registration> registrations;  // read before the vaults were asked
  std::vector<VaultImpact> impacts;         // of those that have to do with it
  std::vector<VaultImpact> needing;         // of these, those that need it
};

// A change that takes a key, or the access to one, away: refused while a vault needs it.
struct GuardedChange {
  std::string operation;         // "key.disable", in audit and activity logs
  std::string subject;           // in the audit log
  std::string activity_subject;  // in the activity logs of vaults
  bool overridden = false;       // somebody said --override
  Error refusal;                 // if a vault needs it: the reason, the vaults, what to do
  // Under whose lock the change is made, and what the vaults said is looked at again; null: under none.
  LocalKeyVault* key_vault = nullptr;
  std::function<Status()> change;
  std::function<Status()> undo;  // takes it back; empty where there is no way
};

// True if it was needed and is done all the same. `refusal` if it is needed and not overridden: that is in the
// machine's audit log, and no vault is changed or even opened for writing. TryAgain if the vaults' keys or the
// machine's list changed meanwhile. The record in the machine's audit log comes before the change; without it nothing
// is done.
[[nodiscard]] Result<bool> change_unless_needed(CommandContext& context, const AskedVaults& asked,
                                                const GuardedChange& what);

}  // namespace vaultfs
