#pragma once

#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// How a vault is encrypted, as it is told everywhere: of an owner and of a reader the same. `last_update_status` is the
// outcome of the newest change of keys that was tried, which is one stored fact: the newest update job of the
// catalogue, which is kept however many jobs come after it, or the keyring's own newest change where a crash came
// before its job. Thread-safe.
[[nodiscard]] EncryptionStatus encryption_status(Vault& vault);

}  // namespace vaultfs
