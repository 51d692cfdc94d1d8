#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/rsa_key.h"
#include "crypto/secret_buffer.h"

namespace vaultfs {

// The escrow recipient of a keyring (docs/format.md, section 7.1): an RSA public key whose private half lies offline.
// Every keyring key is wrapped for it too, so that the private key alone opens the vault when its key vaults are gone.

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
  Generation wrapped_in;  // the keyring generation in which `wrapped` was made: part of its context
  Bytes wrapped;          // RSA-OAEP-256 of the envelope of the keyring key
};

// SHA-256 of the DER SubjectPublicKeyInfo: what `openssl pkey -pubin -outform DER | sha256sum` prints.
[[nodiscard]] Digest escrow_fingerprint(ByteView public_key);

// The keyring key of `generation` for the recipient. KeyNotRsa, KeySizeUnsupported, InvalidArgument.
[[nodiscard]] Result<EscrowSlot> wrap_for_escrow(const VaultId& vault, Generation generation,
                                                 const EscrowRecipient& recipient, const SecretBuffer& keyring_key);

// The keyring key that the slot holds, by the private key alone. KeyNotFound without a slot (the vault has no escrow
// key), WrongKey if it is another key's, AuthenticationFailed if what is in it was made for another vault or place.
[[nodiscard]] Result<SecretBuffer> unwrap_by_escrow(const VaultId& vault, const std::optional<EscrowSlot>& slot,
                                                    const RsaKey& private_key);

}  // namespace vaultfs
