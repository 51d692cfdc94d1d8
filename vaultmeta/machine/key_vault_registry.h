#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/provider.h"
#include "vaultmeta/machine/local_key_vaults.h"
#include "vaultmeta/machine/provider_file.h"

namespace vaultfs {

// All key vaults of a machine by name, whatever is behind them: HOME/keyvaults/NAME holds a vault.json (a local key
// vault) or a provider.json (any other). `local` must outlive it. Thread-safe.
//
// Each key vault is opened once and shared: a local one holds its passphrase, which can be read from a descriptor only
// once, and stretching it costs 256 MiB and a second; others hold connections, tokens, a loaded module. One whose
// registration has changed since is opened anew.
class KeyVaultRegistry {
 public:
  KeyVaultRegistry(Env& env, const std::filesystem::path& home, LocalKeyVaults& local);

  struct Entry {
    std::string name;
    std::string provider;          // "local", "pkcs11", …; empty if `problem`
    ProviderOptions options;       // of its registration; none of a local one
    std::optional<Error> problem;  // why its registration can't be read
  };

  // Registers an external key vault. KeyVaultExists, InvalidName, InvalidArgument (provider or options). Durable when
  // it returns; nothing is asked of the key vault itself.
  [[nodiscard]] Status add(const std::string& name, const std::string& provider, const ProviderOptions& options);
  // Drops a registration with the files that the provider kept for it; the key vault itself is not touched. A local key
  // vault goes only when it holds no key (KeyVaultInUse). KeyVaultNotFound. Which vaults need it is the caller's check;
  // `still_right` is called once nobody can change it any more, and its error keeps it.
  [[nodiscard]] Status remove(const std::string& name, const std::function<Status()>& still_right = {});
  // Says where a key vault is, local or not. KeyVaultNotFound; InvalidArgument for what is no region label.
  [[nodiscard]] Status set_region(const std::string& name, const std::string& region);
  // Sorted by name. No key vault is asked.
  [[nodiscard]] Result<std::vector<Entry>> list();
  // KeyVaultUnavailable if there is none of that name; InvalidName.
  [[nodiscard]] Result<Entry> find(const std::string& name);

  // As its administrator: what the local key vault's policies say does not bind. KeyVaultUnavailable if this machine
  // has none of that name; InvalidName; DamagedMachineState, PermissionDenied of the registration.
  [[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> open(const std::string& name);
  // NotSupportedByProvider if it is not a local one.
  [[nodiscard]] Result<std::shared_ptr<LocalKeyVault>> open_local(const std::string& name);
  // An external one, spoken to as that identity. REQUIRES: find(name) gave another provider than "local".
  [[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> open_external(const std::string& name,
                                                                            const ProviderIdentity& identity);

  [[nodiscard]] LocalKeyVaults& local() noexcept { return local_; }

 private:
  struct Opened {
    ProviderFile registration;
    ProviderOptions identity_options;
    std::shared_ptr<AdministeredKeyVault> key_vault;
  };

  [[nodiscard]] Result<bool> is_external(const std::string& name);
  [[nodiscard]] Result<bool> is_local(const std::string& name);
  [[nodiscard]] Status remove_directory(const std::string& name);

  Env& env_;
  const std::filesystem::path directory_;
  LocalKeyVaults& local_;
  Mutex mutex_;  // a leaf, not held across I/O
  std::map<std::string, std::shared_ptr<LocalKeyVault>> opened_local_ GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, Opened> opened_ GUARDED_BY(mutex_);  // by key vault and identity's name
};

}  // namespace vaultfs
