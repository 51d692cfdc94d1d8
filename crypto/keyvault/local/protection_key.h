#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "crypto/keyvault/local/vault_file.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The random 32-byte key under which a local key vault seals its private keys. With LocalProtection::machine_key it
// lies in DIRECTORY/machine.key, with LocalProtection::passphrase in vault.json, sealed under Argon2id of the
// passphrase: so a passphrase costs its 256 MiB once a process and not at every unwrap, and a wrong one is found before
// anything is sealed under it.
//
// Thread-safe. machine.key is read anew on each call. The passphrase is asked for until there is one; it and the key
// that it opened are kept in locked memory, the key only for as long as the box in vault.json is the one that it came
// from.
class ProtectionKey {
 public:
  ProtectionKey(Env& env, Env::Path directory, LocalKeyVault::PassphraseSource source);

  // PassphraseRequired, WrongPassphrase, PermissionDenied (machine.key is open to others), DamagedMachineState.
  [[nodiscard]] Result<SecretBuffer> get(const LocalVaultFile& vault);

  // Makes a new key for `vault` (name and options are set): writes machine.key, or fills in `passphrase_box`.
  // PassphraseRequired if the options ask for one and there is none, InvalidArgument if there is one that nobody asked
  // for.
  [[nodiscard]] static Status create(Env& env, const Env::Path& directory, LocalVaultFile& vault,
                                     const SecretBuffer* passphrase);

 private:
  [[nodiscard]] Result<SecretBuffer> from_machine_key(const LocalVaultFile& vault);
  [[nodiscard]] Result<SecretBuffer> from_passphrase(const LocalVaultFile& vault);

  Env& env_;
  Env::Path directory_;
  Mutex mutex_;  // taken after LocalKeyVault's change lock, nothing is taken under it
  LocalKeyVault::PassphraseSource source_ GUARDED_BY(mutex_);
  std::optional<SecretBuffer> passphrase_ GUARDED_BY(mutex_);  // the source's one answer
  Bytes opened_box_ GUARDED_BY(mutex_);
  std::optional<Result<SecretBuffer>> opened_key_
      GUARDED_BY(mutex_);  // what opening opened_box_ gave: a key, or why not
};

[[nodiscard]] Env::Path machine_key_path(const Env::Path& directory);

}  // namespace vaultfs
