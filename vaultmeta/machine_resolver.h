#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/key_vault_registry.h"
#include "vaultmeta/key_vault_resolver.h"

namespace vaultfs {

// Resolves to the key vaults that are registered on this machine, local ones and others. `registry` must outlive it.
// Thread-safe.
class MachineResolver final : public KeyVaultResolver {
 public:
  explicit MachineResolver(KeyVaultRegistry& registry) : registry_(registry) {}

  [[nodiscard]] Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override;
  // Of several places the first where the version is enabled, else the first. Local key vaults come first; the others
  // cost calls over a network and are asked only if none of those has the version.
  [[nodiscard]] Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override;

 private:
  KeyVaultRegistry& registry_;
};

}  // namespace vaultfs
