#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/secret_buffer.h"

namespace vaultfs {

// How the private keys of a local key vault are protected at rest.
enum class LocalProtection : std::uint8_t {
  machine_key,  // sealed under a random key in a file of mode 0600 beside them
  passphrase,   // sealed under Argon2id of a passphrase
};

struct LocalKeyVaultOptions {
  LocalProtection protection = LocalProtection::machine_key;
  std::string region;  // label; empty = none
  bool soft_delete = true;
  bool purge_protection = true;  // once on, it can't be turned off
};

// A key vault in a directory of this machine: DIRECTORY/vault.json (properties), DIRECTORY/machine.key (0600),
// DIRECTORY/keys/NAME.json (versions: id, created, enabled, nbf, exp, bits, public key, sealed private key),
// DIRECTORY/lock. A version's id is the first 32 hex digits of SHA-256 of its SubjectPublicKeyInfo, so that an exported
// key has the same version ids wherever it is imported. Every change is a durable replacement of one file under the
// lock, so that processes may share a key vault; every read opens the files anew, so that changes by others are seen.
// A directory that is missing is KeyVaultUnavailable; damaged files are DamagedMachineState.
//
// Only private keys are sealed: a random protection key (machine.key, or sealed under the passphrase in vault.json)
// seals the PKCS#8 DER of each in a box (crypto/committed_key.h) with the label "vaultfs/1 local-key-vault private key"
// and aad = key vault's name ‖ 0 ‖ key's name ‖ 0 ‖ version id. The rest of the JSON is plain and not authenticated on
// purpose, because its administrator may edit it by hand as at any other key vault (see local_key_file.h). No private
// key is kept in memory between calls: a version that is disabled or removed stops working at once.
//
// Where the clock went back, a new version gets the `created` of the one before it.
//
// Beyond KeyVault's errors every call on a key may give InvalidName (of the key), UnsupportedFormat, and calls that
// need private keys PassphraseRequired, WrongPassphrase, PermissionDenied (machine.key is open to others).
class LocalKeyVault : public AdministeredKeyVault {
 public:
  // Asks for the passphrase when one is needed; nothing prompts by itself. Called until it gives one, which is kept
  // locked. It is called under a lock of this object and must not call back into it.
  using PassphraseSource = std::function<Result<SecretBuffer>()>;

  // Makes a new key vault: KeyVaultExists if the directory is there. A failure leaves nothing behind; what a crash
  // leaves is not taken for a key vault, and the next create clears it away. The directory's parent must exist.
  // InvalidName; InvalidArgument for a region that is not up to 64 printable ASCII characters; ProtectionKey's errors.
  [[nodiscard]] static Status create(Env& env, const std::filesystem::path& directory, const std::string& name,
                                     const LocalKeyVaultOptions& options, const SecretBuffer* passphrase);
  [[nodiscard]] static std::unique_ptr<LocalKeyVault> open(Env& env, std::filesystem::path directory, std::string name,
                                                           PassphraseSource passphrase);

  // One version's private key (the newest if null; a disabled one too) as encrypted PEM, and back. The PEM carries no
  // attributes: an imported version is enabled and has no nbf and exp. Importing into an existing key adds a version
  // (its `created` is the time of import unless given), a version that is already there is AlreadyExists and stays
  // as it is, enabled or not.
  [[nodiscard]] virtual Result<std::string> export_version(const std::string& key, const std::string* version,
                                                           const SecretBuffer& passphrase) = 0;
  [[nodiscard]] virtual Result<KeyVersionInfo> import_version(const std::string& key, ByteView pem,
                                                              const SecretBuffer* passphrase,
                                                              std::optional<std::int64_t> created) = 0;
  // Runs `change` with the key vault's lock held, so that a check made inside can't be overtaken by another process.
  // Calls on this object are allowed inside; a second object on the same directory would wait for the lock in vain.
  // Waits up to 30 s for the lock, then VaultBusy.
  [[nodiscard]] virtual Status with_lock(const std::function<Status()>& change) = 0;
};

}  // namespace vaultfs
