#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/access_policy.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/rotation_policy.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// How the private keys of a local key vault are protected at rest.
enum class LocalProtection : std::uint8_t {
  machine_key,  // sealed under a random key in a file of mode 0600 beside them
  passphrase,   // sealed under Argon2id of a passphrase
};

struct LocalKeyVaultOptions {
  LocalProtection protection = LocalProtection::machine_key;
  std::string region = {};  // label; empty = none
  bool soft_delete = true;
  bool purge_protection = true;  // once on, it can't be turned off; wants soft_delete
  unsigned retention_days = 90;  // 7 to 90: how long deleted keys are kept
};

// A deleted key that is kept.
struct DeletedKey {
  std::string key;
  std::int64_t deleted = 0;      // Unix seconds
  std::int64_t purge_after = 0;  // gone from then on
  std::size_t versions = 0;
};

// A version of a key, and when it was last exported: Unix seconds; nothing: never, or before this was kept.
struct LocalKeyExport {
  std::string version;
  std::optional<std::int64_t> exported;
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
// purpose, because its administrator may edit it by hand as at any other key vault (see key_file.h). No private
// key is kept in memory between calls: a version that is disabled or removed stops working at once.
//
// Where the clock went back, a new version gets the `created` of the one before it.
//
// With soft delete a deleted key stays in its file, marked, for the retention: it is KeyNotFound to everybody and can
// be recovered. What is past its retention counts as gone, and is removed by the next change of the key vault.
//
// Access policies say which identity may do what; they bind those who speak to it through bind_identity
// (access.h), not this object, which is the administrator's.
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
  // Remembers that these versions lie outside now, in a file that was written; durable when it returns.
  [[nodiscard]] virtual Status note_export(const std::string& key, const std::vector<std::string>& versions) = 0;
  // All versions, oldest first.
  [[nodiscard]] virtual Result<std::vector<LocalKeyExport>> exports(const std::string& key) = 0;

  // --- Deleted keys. delete_key, recover_key, purge_key: KeyNotFound; recover_key of a key that is not deleted is
  // AlreadyExists; purge_key of one that is not deleted is InvalidArgument, under purge protection PurgeProtected.
  // Making a key of a deleted one's name is KeyExists.
  [[nodiscard]] virtual Result<std::vector<DeletedKey>> list_deleted() = 0;  // sorted by key
  // Turns on, never off. SoftDeleteRequired for purge protection without soft delete.
  [[nodiscard]] virtual Status enable_protection(bool soft_delete, bool purge_protection) = 0;
  // Says where the key vault is. InvalidArgument as for create.
  [[nodiscard]] virtual Status set_region(const std::string& region) = 0;

  // As it was made and changed since.
  [[nodiscard]] virtual Result<LocalKeyVaultOptions> options() = 0;

  // --- Rotation policies.
  [[nodiscard]] virtual Result<std::optional<RotationPolicy>> rotation_policy(const std::string& key) = 0;
  // Makes a new version if the key's policy says so now; nothing if it does not, or another process was first. `before`
  // is called when it is due, and its error leaves it undone.
  [[nodiscard]] virtual Result<std::optional<KeyVersionInfo>> rotate_if_due(
      const std::string& key, const std::function<Status()>& before = {}) = 0;

  // --- Access policies. Nothing: this key vault is older than policies and lets every identity in.
  [[nodiscard]] virtual Result<std::optional<std::vector<AccessPolicy>>> access() = 0;
  // Replaces what that identity may do. A key vault that lets every identity in would shut out all the others with its
  // first policy: InvalidArgument unless `enforce`.
  [[nodiscard]] virtual Status allow(const AccessPolicy& policy, bool enforce) = 0;
  // NotFound if the key vault has no policy for it.
  [[nodiscard]] virtual Status deny(const std::string& identity) = 0;

  // Runs `change` with the key vault's lock held, so that a check made inside can't be overtaken by another process.
  // Calls on this object are allowed inside; a second object on the same directory would wait for the lock in vain.
  // Waits up to 30 s for the lock, then VaultBusy.
  [[nodiscard]] virtual Status with_lock(const std::function<Status()>& change) = 0;
};

}  // namespace vaultfs
