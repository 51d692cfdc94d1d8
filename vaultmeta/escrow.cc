#include "vaultmeta/escrow.h"

#include <memory>
#include <string>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/envelope.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::uint8_t kEscrowKind = 3;  // beside the kinds of SlotKind

// The form of every slot's context (format.md, 7.2); the recipient takes the place of the version.
Bytes escrow_context(const VaultId& vault, Generation wrapped_in, const Digest& fingerprint) {
  ByteWriter writer;
  writer.id(vault);
  writer.u64(wrapped_in.value);
  writer.u8(kEscrowKind);
  writer.text("");
  writer.text("");
  writer.text(to_hex(fingerprint.view()));
  return std::move(writer).take();
}

}  // namespace

Digest escrow_fingerprint(ByteView public_key) { return sha256(public_key); }

Result<EscrowSlot> wrap_for_escrow(const VaultId& vault, Generation generation, const EscrowRecipient& recipient,
                                   const SecretBuffer& keyring_key) {
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<RsaKey> key, RsaKey::from_public_der(recipient.public_key));
  EscrowSlot slot;
  slot.fingerprint = escrow_fingerprint(recipient.public_key);
  slot.wrapped_in = generation;
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope,
                           encode_envelope(keyring_key, escrow_context(vault, generation, slot.fingerprint)));
  VAULTFS_ASSIGN_OR_RETURN(slot.wrapped, key->encrypt(envelope.view()));
  return slot;
}

Result<SecretBuffer> unwrap_by_escrow(const VaultId& vault, const std::optional<EscrowSlot>& slot,
                                      const RsaKey& private_key) {
  if (!slot) {
    return Error{ErrorCode::KeyNotFound,
                 "the vault has no escrow key; it opens by its key vault, or by a copy of the key, only"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const Bytes public_key, private_key.public_der());
  const Digest given = escrow_fingerprint(public_key);
  if (given != slot->fingerprint) {
    return Error{ErrorCode::WrongKey, "the vault's escrow key is " + to_hex(slot->fingerprint.view()) +
                                          ", the given one is " + to_hex(given.view())};
  }
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope, private_key.decrypt(slot->wrapped));
  return decode_envelope(envelope, escrow_context(vault, slot->wrapped_in, slot->fingerprint));
}

}  // namespace vaultfs
