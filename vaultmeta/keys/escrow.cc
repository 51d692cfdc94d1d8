#include "vaultmeta/keys/escrow.h"

#include <memory>
#include <string>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/envelope.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

// Beside the kinds of SlotKind.
constexpr std::uint8_t kEscrowKind = 3;
constexpr std::uint8_t kInfrastructureKind = 4;

// The form of every slot's context (format.md, 7.2); the recipient takes the place of the version, and `key` is empty
// or the infrastructure key's id.
Bytes escrow_context(const VaultId& vault, const EscrowSlot& slot, std::uint8_t kind, const std::string& key) {
  ByteWriter writer;
  writer.id(vault);
  writer.u64(slot.wrapped_in.value);
  writer.u8(kind);
  writer.text("");
  writer.text(key);
  writer.text(to_hex(slot.fingerprint.view()));
  return std::move(writer).take();
}

Bytes keyring_key_context(const VaultId& vault, const EscrowSlot& slot) {
  return escrow_context(vault, slot, kEscrowKind, "");
}

Bytes infrastructure_key_context(const VaultId& vault, const EscrowSlot& slot, const PlatformKeyId& id) {
  return escrow_context(vault, slot, kInfrastructureKind, to_hex(id.view()));
}

Result<Bytes> wrap(const RsaKey& recipient, const SecretBuffer& key, ByteView context) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope, encode_envelope(key, context));
  return recipient.encrypt(envelope.view());
}

Status check_recipient(const EscrowSlot& slot, const RsaKey& private_key) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes public_key, private_key.public_der());
  const Digest given = escrow_fingerprint(public_key);
  if (given == slot.fingerprint) return ok_status();
  return Error{ErrorCode::WrongKey, "the vault's escrow key is " + to_hex(slot.fingerprint.view()) +
                                        ", the given one is " + to_hex(given.view())};
}

}  // namespace

Digest escrow_fingerprint(ByteView public_key) { return sha256(public_key); }

Result<EscrowSlot> wrap_for_escrow(const VaultId& vault, Generation generation, const EscrowRecipient& recipient,
                                   const SecretBuffer& keyring_key, const InfrastructureKey& infrastructure) {
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<RsaKey> key, RsaKey::from_public_der(recipient.public_key));
  EscrowSlot slot;
  slot.fingerprint = escrow_fingerprint(recipient.public_key);
  slot.wrapped_in = generation;
  VAULTFS_ASSIGN_OR_RETURN(slot.wrapped, wrap(*key, keyring_key, keyring_key_context(vault, slot)));
  if (infrastructure.key.empty()) return slot;
  VAULTFS_ASSIGN_OR_RETURN(slot.wrapped_infrastructure_key,
                           wrap(*key, infrastructure.key, infrastructure_key_context(vault, slot, infrastructure.id)));
  return slot;
}

Result<SecretBuffer> unwrap_by_escrow(const VaultId& vault, const std::optional<EscrowSlot>& slot,
                                      const RsaKey& private_key) {
  if (!slot) {
    return Error{ErrorCode::KeyNotFound,
                 "the vault has no escrow key; it opens by its key vault, or by a copy of the key, only"};
  }
  VAULTFS_RETURN_IF_ERROR(check_recipient(*slot, private_key));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope, private_key.decrypt(slot->wrapped));
  return decode_envelope(envelope, keyring_key_context(vault, *slot));
}

Result<SecretBuffer> unwrap_infrastructure_key(const VaultId& vault, const EscrowSlot& slot, const PlatformKeyId& id,
                                               const RsaKey& private_key) {
  if (slot.wrapped_infrastructure_key.empty()) {
    return Error{ErrorCode::KeyNotFound, "the escrow slot does not hold the infrastructure key"};
  }
  VAULTFS_RETURN_IF_ERROR(check_recipient(slot, private_key));
  auto envelope = private_key.decrypt(slot.wrapped_infrastructure_key);
  if (!envelope.ok()) return with_context(std::move(envelope).error(), "the escrowed infrastructure key");
  auto key = decode_envelope(*envelope, infrastructure_key_context(vault, slot, id));
  if (!key.ok()) return with_context(std::move(key).error(), "the escrowed infrastructure key");
  return key;
}

Result<SecretBuffer> escrowed_infrastructure_key(PlatformKeys& platform_keys, const VaultId& vault,
                                                 const EscrowSlot& slot, const PlatformKeyId& id,
                                                 const RsaKey& escrow_key) {
  auto here = platform_keys.load(id);
  if (slot.wrapped_infrastructure_key.empty()) {
    if (here.ok() || here.code() != ErrorCode::PlatformKeyMissing) return here;
    return Error{ErrorCode::PlatformKeyMissing,
                 here.error().message +
                     ". It is the infrastructure key, which the vault's keyring does not hold for the escrow key yet: "
                     "do that first, then recover by the escrow key. Where the vault still opens, 'vaultctl key "
                     "rewrap VAULT' gives it to the escrow key"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, unwrap_infrastructure_key(vault, slot, id, escrow_key));
  if (!here.ok()) return here.code() == ErrorCode::PlatformKeyMissing ? Result(std::move(key)) : std::move(here);
  if (constant_time_equal(here->view(), key.view())) return key;
  return Error{ErrorCode::WrongKey, "the platform key " + to_hex(id.view()) +
                                        " of this machine is not the infrastructure key that the vault's escrow slot "
                                        "holds; the vault's data opens by the latter"};
}

}  // namespace vaultfs
