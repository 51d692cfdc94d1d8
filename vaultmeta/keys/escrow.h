#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "crypto/rsa_key.h"
#include "vaultmeta/machine/platform_keys.h"

namespace vaultfs {

// The escrow recipient of a keyring (docs/format.md, section 7.1): an RSA public key whose private half lies offline.
// Every keyring key is wrapped for it too, so that the private key alone opens the vault when its key vaults are gone;
// and the infrastructure key where there is one, so that the machine may be gone as well.

inline constexpr std::size_t kMaxEscrowKeyBytes = 1024;     // SubjectPublicKeyInfo of RSA-4096: 550
inline constexpr std::size_t kMaxEscrowWrappedBytes = 512;  // RSA-4096

// Sealed inside the keyring: what is wrapped is wrapped for this key and for no other that storage may name.
struct EscrowRecipient {
  Bytes public_key;  // DER SubjectPublicKeyInfo
  UnixNanos since;
  bool operator==(const EscrowRecipient&) const = default;
};

// Clear, but authenticated by the keyring once it is open.
struct EscrowSlot {
  Digest fingerprint;     // of the public key
  Generation wrapped_in;  // the keyring generation in which the slot was made: part of the context of both wraps
  Bytes wrapped;          // RSA-OAEP-256 of the envelope of the keyring key
  // The same of the infrastructure key. Empty without infrastructure encryption, and in keyrings that were written
  // before it was wrapped here (format version 2).
  Bytes wrapped_infrastructure_key;
  bool operator==(const EscrowSlot&) const = default;
};

// The second layer's key of a vault with infrastructure encryption. It is bound to the machine, and no part of a
// keyring holds it but the escrow slot: the two layers stay under two custodies.
struct InfrastructureKey {
  PlatformKeyId id;  // VaultHeader::infrastructure_key_id
  SecretBuffer key;  // empty: the vault has none
};

// SHA-256 of the DER SubjectPublicKeyInfo: what `openssl pkey -pubin -outform DER | sha256sum` prints.
[[nodiscard]] Digest escrow_fingerprint(ByteView public_key);

// The keyring key of `generation`, and the infrastructure key if there is one, for the recipient. KeyNotRsa,
// KeySizeUnsupported, InvalidArgument.
[[nodiscard]] Result<EscrowSlot> wrap_for_escrow(const VaultId& vault, Generation generation,
                                                 const EscrowRecipient& recipient, const SecretBuffer& keyring_key,
                                                 const InfrastructureKey& infrastructure);

// The keyring key that the slot holds, by the private key alone. KeyNotFound without a slot (the vault has no escrow
// key), WrongKey if it is another key's, AuthenticationFailed if what is in it was made for another vault or place.
[[nodiscard]] Result<SecretBuffer> unwrap_by_escrow(const VaultId& vault, const std::optional<EscrowSlot>& slot,
                                                    const RsaKey& private_key);

// The infrastructure key of that id out of the slot of a keyring that is open: anybody can wrap for a public key, and
// only the keyring's authentication tells that its owner has. KeyNotFound if the slot has none; WrongKey and
// AuthenticationFailed as above.
[[nodiscard]] Result<SecretBuffer> unwrap_infrastructure_key(const VaultId& vault, const EscrowSlot& slot,
                                                             const PlatformKeyId& id, const RsaKey& private_key);

// The infrastructure key of that id as the escrow key gives it, compared with the machine's if that has it (WrongKey).
// PlatformKeyMissing: neither has it. REQUIRES: the keyring of `slot` is open and of this vault.
[[nodiscard]] Result<SecretBuffer> escrowed_infrastructure_key(PlatformKeys& platform_keys, const VaultId& vault,
                                                               const EscrowSlot& slot, const PlatformKeyId& id,
                                                               const RsaKey& escrow_key);

}  // namespace vaultfs
