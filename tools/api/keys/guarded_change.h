#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "tools/api/keys/machine_context.h"
#include "tools/api/keys/who_needs_key.h"

namespace vaultfs {

// What the vaults of this machine said before something is taken away from them.
struct AskedVaults {
  std::vector<Registration> registrations;  // read before the vaults were asked
  std::vector<VaultNeed> asked;             // of those that have to do with it
  std::vector<VaultNeed> needing;           // of these, those that need it
};

// What came of a request to take a key, or the access to one, away.
enum class Withdrawn : std::uint8_t {
  done,                  // no vault needed it
  done_although_needed,  // as the request wanted
  refused,               // a vault needs it: nothing was changed
};

// A change that takes a key, or the access to one, away: refused while a vault needs it.
struct GuardedChange {
  std::string operation;         // "key.disable", in audit and activity logs
  std::string subject;           // in the audit log
  std::string activity_subject;  // in the activity logs of vaults
  bool although_needed = false;  // somebody wants it all the same, and said so
  // Under whose lock the change is made, and what the vaults said is looked at again; null: under none.
  LocalKeyVault* key_vault = nullptr;
  std::function<Status()> change;
  std::function<Status()> undo;  // takes it back; empty where there is no way
};

// A refusal is in the machine's audit log, and no vault is changed or even opened for writing. TryAgain if the vaults'
// keys or the machine's list changed meanwhile. The record in the machine's audit log comes before the change; without
// it nothing is done.
[[nodiscard]] Result<Withdrawn> change_unless_needed(const MachineContext& context, const AskedVaults& asked,
                                                     const GuardedChange& what);

}  // namespace vaultfs
