#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {

// As whom a vault speaks to its key vaults: its own identity ("system") or a user-assigned one of this machine.
struct VaultIdentity {
  VaultId vault;
  std::string name = "system";
};

// From a name to a key vault of this machine. Two implementations: the machine's registrations, and the tests' fakes.
// Thread-safe.
class KeyVaultResolver {
 public:
  virtual ~KeyVaultResolver() = default;
  // KeyVaultUnavailable if this machine has no such key vault (an outage, not a revocation). IdentityNotFound,
  // IdentityDisabled: the vault may not speak to it as that identity (revocations).
  [[nodiscard]] virtual Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault,
                                                               const VaultIdentity& as) = 0;
  struct Located {
    std::shared_ptr<KeyVault> key_vault;
    std::string key;
  };
  // Where to look: only in what this machine holds itself, or by asking every registered key vault.
  enum class Reach : std::uint8_t { machine, everywhere };
  // Where else on this machine that very version is: for a vault that came from a machine with other names.
  // KeyVersionNotFound if nowhere.
  [[nodiscard]] virtual Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) = 0;

  // What a creation or recovery that fails has to do with what was made for it; what was there before stays.
  using TakeBack = std::function<void()>;
  // For a vault that is being made or recovered: its system-assigned identity unless it has one, and (with a key vault)
  // access for `as` where this machine can grant it, which is at its local key vaults. IdentityNotFound for a
  // user-assigned one that is not there.
  [[nodiscard]] virtual Result<TakeBack> introduce(const VaultIdentity& /*as*/, const std::string& /*key_vault*/) {
    return TakeBack([] {});
  }
  // Whether that identity is there and may speak at all: for a vault that uses no key vault yet. IdentityNotFound,
  // IdentityDisabled.
  [[nodiscard]] virtual Status check_identity(const VaultIdentity& /*as*/) { return ok_status(); }
  // Executes the rotation policy that the key has on this machine: true if a new version was made.
  [[nodiscard]] virtual Result<bool> rotate_if_due(const std::string& /*key_vault*/, const std::string& /*key*/) {
    return false;
  }
};

}  // namespace vaultfs
