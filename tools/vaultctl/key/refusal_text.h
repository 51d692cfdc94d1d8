#pragma once

#include <string>
#include <vector>

#include "tools/api/keys/key_withdrawal.h"
#include "tools/api/keys/who_needs_key.h"

namespace vaultfs {

// What is refused because vaults need it, in words, and what to do about each of them.

// KeyVersionInUse: the vaults, each with its way out.
[[nodiscard]] Error refusal_of_key(const KeyRef& key, const std::vector<NeedingVault>& needing);
// A line per vault: "\n  PATH: 2 key versions, 3 recovery points".
[[nodiscard]] std::string needing_lines(const std::vector<VaultNeed>& needing);

// Usage if `override_name` is given and is not `name`. `what` says what it is the name of: "the key's name, ".
[[nodiscard]] Status check_override(const std::string& override_name, const std::string& name, const std::string& what);

}  // namespace vaultfs
