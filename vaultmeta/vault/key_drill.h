#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Success if that keyring file opens by that slot of it alone, through the slot's provider, and is this vault's. With
// `known` (epoch not 0) it must have that epoch's data key (RollbackDetected): the root key alone proves nothing
// against whoever held an older key version.
[[nodiscard]] Status opens_by(const KeyCustody::Context& context, const VaultHeader& header, ByteView file,
                              const ClosedKeyring& closed, const KeyringSlot& slot, const VaultFingerprint& known);

// Opens the newest keyring as storage has it by each of its slots, Active and Retiring, through the providers; with
// infrastructure encryption a slot opens nothing unless the second layer's key is there. Changes nothing. Errors are of
// reading the keyring (find_keyrings, read_keyring).
[[nodiscard]] Result<std::vector<KeyDrill>> drill_keyring(const KeyCustody::Context& context, const VaultHeader& header,
                                                          const Digest& header_digest, const VaultFingerprint& known);

// The same of a vault that nobody has opened, also one that can't be: header and keyring are read without its lock.
// VaultUnverified without a pin, ForeignRootKey if the pin knows another root key.
[[nodiscard]] Result<std::vector<KeyDrill>> drill_vault(const Vault::Machine& machine,
                                                        const std::filesystem::path& path);

}  // namespace vaultfs
