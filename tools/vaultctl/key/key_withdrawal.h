#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "tools/vaultctl/key/key_arguments.h"

namespace vaultfs {

// Something that takes a key version, or a key with all its versions, away from those who need it.
struct Withdrawal {
  KeyRef key;             // with a version: that one; without: the key
  std::string operation;  // "key.disable", "key.delete", "key.purge"
  std::function<Status(AdministeredKeyVault&)> change;
  // Takes the change back; empty where there is no way.
  std::function<Status(AdministeredKeyVault&)> undo;
};

// Checks the vaults that need it, then changes: true if it was needed and overridden. Architecture, rule 4.
// KeyVersionInUse if a vault needs it, and then no vault is changed; TryAgain if a vault's keys changed meanwhile. It
// is in the machine's audit log before anything changes, or nothing changes.
[[nodiscard]] Result<bool> withdraw(CommandContext& context, const KeyArguments& arguments, const Withdrawal& what);

}  // namespace vaultfs
