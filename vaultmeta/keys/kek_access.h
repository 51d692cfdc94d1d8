#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/memory/secret_buffer.h"
#include "vaultmeta/keys/keyring.h"
#include "vaultmeta/machine/key_vault_resolver.h"
#include "vaultmeta/machine/platform_keys.h"

namespace vaultfs {

// What a vault asks of its key vaults. All of these call a provider: no lock may be held.

// True for an authoritative refusal (a revocation): missing, disabled or denied.
[[nodiscard]] bool is_revocation(ErrorCode code) noexcept;
// True if the key vault could not be asked: everything that is neither a refusal nor a sign of changed bytes.
[[nodiscard]] bool is_outage(ErrorCode code) noexcept;

// An error of the Active version as callers get it: every refusal is KeyRevoked, naming the version and what brings the
// vault back (those of the identity keep their names); others keep their code.
[[nodiscard]] Error describe_trouble(const Error& error, const KeyringSlot& active);

// A key with all its versions, in the key vault where it was found.
struct ReachedKey {
  std::shared_ptr<KeyVault> key_vault;  // null for a platform key
  std::string key;
  std::vector<KeyVersionInfo> versions;            // oldest first
  std::optional<Error> instead_of = std::nullopt;  // found elsewhere: what the named place had answered

  [[nodiscard]] const KeyVersionInfo* find(const std::string& version) const noexcept;
};

// The key that has this very version: in the key vault of that name, else wherever this machine has the version.
// Every key vault of the machine is asked only if the named one is not there or has no such version, not for an outage.
// The error of the named place if it is nowhere. What is found elsewhere is no authority for the named place: where
// that one is out of reach, a refusal of the other is not the vault's revocation.
[[nodiscard]] Result<ReachedKey> reach_version(KeyVaultResolver& resolver, const VaultIdentity& as,
                                               const std::string& key_vault, const std::string& key,
                                               const std::string& version);

// The keyring key that a slot's `wrapped` holds, through the provider; KeyVersionDisabled also where a provider would
// still unwrap. The outage of the named key vault stays an outage whatever a copy of the version elsewhere answers.
// `reached` gets the key, with its versions.
[[nodiscard]] Result<SecretBuffer> unwrap_slot(KeyVaultResolver& resolver, PlatformKeys& platform_keys,
                                               const VaultId& vault, const KeyringSlot& slot, ReachedKey& reached);

// The same through a key that was reached already, which must have a version of the slot's id (KeyVersionNotFound). It
// need not be the slot's own key: what another key was to open is AuthenticationFailed.
[[nodiscard]] Result<SecretBuffer> unwrap_slot_at(const VaultId& vault, const KeyringSlot& slot,
                                                  const ReachedKey& reached);

// A fresh keyring key, and the Active slot that holds it, wrapped by that version and proven by an unwrap.
struct WrappedKey {
  KeyringSlot slot;
  SecretBuffer key;
};
[[nodiscard]] Result<WrappedKey> wrap_fresh_key(const VaultId& vault, Generation generation,
                                                const std::string& identity, KeyVault& key_vault,
                                                const std::string& key, const std::string& version);
// The same under a platform key of the machine.
[[nodiscard]] Result<WrappedKey> wrap_fresh_platform_key(const VaultId& vault, Generation generation,
                                                         PlatformKeys& platform_keys, const PlatformKeyId& id);

// Success if the version may wrap now. KeyNotRsa, KeySizeUnsupported, KeyVersionDisabled, KeyVersionNotYetValid,
// KeyVersionExpired.
[[nodiscard]] Status check_may_wrap(const KeyVersionInfo& version, std::int64_t now_unix_seconds);

// The version that a new reference means: the pinned one, else the newest that may wrap. The reason of the newest if
// none may; KeyVersionNotFound, KeyNotFound (no version at all); KeyOfCertificate. A vault that has taken a key up
// follows and wraps on, whatever certificates turn up: on a token anybody can make one.
[[nodiscard]] Result<KeyVersionInfo> version_of_reference(const std::vector<KeyVersionInfo>& versions,
                                                          const std::optional<std::string>& pinned,
                                                          std::int64_t now_unix_seconds);

// The newest version after `active` that may wrap; else the newest that only its type or size stops, to tell; or null.
[[nodiscard]] const KeyVersionInfo* newer_version(const std::vector<KeyVersionInfo>& versions,
                                                  const std::string& active, std::int64_t now_unix_seconds) noexcept;

// What a key vault with these properties lacks for a customer-managed key of a vault in that region; what a provider
// has no notion of is not asked for.
[[nodiscard]] std::vector<Error> unmet_preconditions(const KeyVaultProperties& properties, const std::string& key_vault,
                                                     const std::string& region);

// The checks of a key that is to be used from now on: it exists, may wrap, its key vault meets the preconditions.
struct ExaminedKey {
  ReachedKey reached;
  KeyVersionInfo version;
};
[[nodiscard]] Result<ExaminedKey> examine_key(KeyVaultResolver& resolver, const Clock& clock, const KeyRef& key,
                                              const std::string& region, const VaultIdentity& as);

}  // namespace vaultfs
