#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {

// From a name to a key vault of this machine. Two implementations: the machine's registrations, and the tests' fakes.
// Thread-safe.
class KeyVaultResolver {
 public:
  virtual ~KeyVaultResolver() = default;
  // KeyVaultUnavailable if this machine has no such key vault (an outage, not a revocation).
  [[nodiscard]] virtual Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault) = 0;
  struct Located {
    std::shared_ptr<KeyVault> key_vault;
    std::string key;
  };
  // Where else on this machine that very version is: for a vault that came from a machine with other names.
  // KeyVersionNotFound if nowhere.
  [[nodiscard]] virtual Result<Located> locate(const std::string& version) = 0;
};

}  // namespace vaultfs
