#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/local_key_vaults.h"
#include "vaultmeta/key_vault_resolver.h"

namespace vaultfs {

// Resolves to the machine's local key vaults. `vaults` must outlive it. Thread-safe.
class LocalResolver final : public KeyVaultResolver {
 public:
  explicit LocalResolver(LocalKeyVaults& vaults) : vaults_(vaults) {}

  [[nodiscard]] Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault) override;
  // Of several places the first where the version is enabled, else the first.
  [[nodiscard]] Result<Located> locate(const std::string& version) override;

 private:
  LocalKeyVaults& vaults_;
};

}  // namespace vaultfs
