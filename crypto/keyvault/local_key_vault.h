#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/secret_buffer.h"

namespace vaultfs {

// How the private keys of a local key vault are protected at rest.
enum class LocalProtection : std::uint8_t {
  machine_key,  // sealed under a random key in a file of mode 0600 beside them
  passphrase,   // sealed under Argon2id of a passphrase
};

struct LocalKeyVaultOptions {
  LocalProtection protection = LocalProtection::machine_key;
  std::string region;             // label; empty = none
  bool soft_delete = true;
  bool purge_protection = true;   // once on, it can't be turned off
};

// A key vault in a directory of this machine: DIRECTORY/vault.json (properties), DIRECTORY/machine.key (0600),
// DIRECTORY/keys/NAME.json (versions: id, created, enabled, nbf, exp, bits, public key, sealed private key),
// DIRECTORY/lock. A version's id is the first 32 hex digits of SHA-256 of its SubjectPublicKeyInfo, so that an exported
// key has the same version ids wherever it is imported. Every change is a durable replacement of one file under the lock,
// so that processes may share a key vault; every read opens the files anew, so that changes by others are seen.
// A directory that is missing is KeyVaultUnavailable; damaged files are DamagedMachineState.
class LocalKeyVault : public KeyVault {
 public:
  // Asks for the passphrase when one is needed; nothing prompts by itself. Called at most once, the answer is kept locked.
  using PassphraseSource = std::function<Result<SecretBuffer>()>;

  // Makes a new key vault: KeyVaultExists if the directory is there. A failure leaves nothing behind.
  [[nodiscard]] static Status create(Env& env, const std::filesystem::path& directory, const std::string& name,
                                     const LocalKeyVaultOptions& options, const SecretBuffer* passphrase);
  [[nodiscard]] static std::unique_ptr<LocalKeyVault> open(Env& env, std::filesystem::path directory, std::string name,
                                                           PassphraseSource passphrase);

  struct KeyOptions {
    unsigned bits = 3072;
    std::optional<std::int64_t> not_before;
    std::optional<std::int64_t> expires;
  };
  // A new key with its first version: KeyExists if there is one of that name.
  [[nodiscard]] virtual Result<KeyVersionInfo> create_key(const std::string& key, const KeyOptions& options) = 0;
  // A new version, made the newest. Bits as in the newest version unless given.
  [[nodiscard]] virtual Result<KeyVersionInfo> rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) = 0;
  [[nodiscard]] virtual Status set_enabled(const std::string& key, const std::string& version, bool enabled) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> list_keys() = 0;
  // One version's private key (the newest if null) as encrypted PEM, and back. Importing into an existing key adds a version
  // (its `created` is the time of import unless given), a version that is already there is AlreadyExists.
  [[nodiscard]] virtual Result<std::string> export_version(const std::string& key, const std::string* version,
                                                           const SecretBuffer& passphrase) = 0;
  [[nodiscard]] virtual Result<KeyVersionInfo> import_version(const std::string& key, ByteView pem, const SecretBuffer* passphrase,
                                                              std::optional<std::int64_t> created) = 0;
  // Runs `change` with the key vault's lock held, so that a check made inside can't be overtaken by another process.
  [[nodiscard]] virtual Status with_lock(const std::function<Status()>& change) = 0;
};

}  // namespace vaultfs
