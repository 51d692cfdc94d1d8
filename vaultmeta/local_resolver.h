#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/local_key_vaults.h"
#include "vaultmeta/key_vault_resolver.h"

namespace vaultfs {

// Resolves to the machine's local key vaults. `vaults` must outlive it. Thread-safe.
//
// Each key vault is opened once and kept: it holds no state but its passphrase, which can be read from a descriptor
// only once, and what it costs to stretch it (256 MiB and a second) would come with every unwrap.
class LocalResolver final : public KeyVaultResolver {
 public:
  explicit LocalResolver(LocalKeyVaults& vaults) : vaults_(vaults) {}

  [[nodiscard]] Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault) override;
  // Of several places the first where the version is enabled, else the first.
  [[nodiscard]] Result<Located> locate(const std::string& version) override;

 private:
  LocalKeyVaults& vaults_;
  std::mutex mutex_;  // guards opened_; a leaf, not held across I/O
  std::map<std::string, std::shared_ptr<KeyVault>> opened_;
};

}  // namespace vaultfs
