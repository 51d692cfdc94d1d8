#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The local key vaults of a machine, in $VAULTFS_HOME/keyvaults/NAME/. It keeps no list of its own: a directory with a
// vault.json is a key vault. Thread-safe.
class LocalKeyVaults {
 public:
  // Gives the passphrase of the key vault of that name; may be empty, then passphrase-protected ones give
  // PassphraseRequired.
  using PassphraseByName = std::function<Result<SecretBuffer>(const std::string& key_vault)>;

  LocalKeyVaults(Env& env, const std::filesystem::path& home, PassphraseByName passphrase);

  // LocalKeyVault::create under that name; makes the home directory if need be.
  [[nodiscard]] Status create(const std::string& name, const LocalKeyVaultOptions& options,
                              const SecretBuffer* passphrase);
  // The names of all key vaults, sorted; none if the home directory does not exist.
  [[nodiscard]] Result<std::vector<std::string>> list();
  // KeyVaultUnavailable if there is none of that name (for a vault that is an outage: its disk may not be mounted);
  // InvalidName; DamagedMachineState. A key vault that vanishes later gives KeyVaultUnavailable from its calls.
  [[nodiscard]] Result<std::unique_ptr<LocalKeyVault>> open(const std::string& name);
  // Every place that holds the version, as pinned references ordered by key vault and key; empty if there is none. For
  // a vault that was copied here and whose key was imported under another name. A damaged key vault or key is passed
  // over if the version is found elsewhere, otherwise its error is returned: the version might be in there.
  [[nodiscard]] Result<std::vector<KeyRef>> find_version(const std::string& version_id);

  [[nodiscard]] std::filesystem::path path_of(std::string_view name) const { return directory_ / name; }

 private:
  Env& env_;
  std::filesystem::path directory_;
  PassphraseByName passphrase_;
};

}  // namespace vaultfs
