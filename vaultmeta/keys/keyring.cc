#include "vaultmeta/keys/keyring.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "crypto/aead.h"
#include "crypto/committed_key.h"
#include "crypto/hash.h"
#include "store/blobs/blob_store.h"
#include "vaultmeta/keys/keyring_form.h"

namespace vaultfs {
namespace {

constexpr std::string_view kKeyringLabel = "vaultfs/1 keyring key";
constexpr std::string_view kMacLabel = "vaultfs/1 keyring mac";
constexpr std::string_view kLinkLabel = "vaultfs/1 keyring link";
// The keyring's key is derived for one file by a fresh salt and used once, so a fixed nonce is safe.
constexpr std::array<std::byte, 12> kNonce{};

Bytes key_context(const VaultId& vault, Generation generation) {
  ByteWriter writer;
  writer.id(vault);
  writer.u64(generation.value);
  return std::move(writer).take();
}

Bytes link_aad(const VaultId& vault, Generation generation, const KeyringSlot& slot) {
  ByteWriter writer;
  writer.u64(generation.value);
  writer.raw(slot_context(vault, slot));
  return std::move(writer).take();
}

Result<Digest> keyring_mac(const SecretBuffer& root_key, ByteView before_mac) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key,
                           hkdf_sha256(root_key.view(), {}, bytes_of(kMacLabel), Digest::kSize));
  return hmac_sha256(key.view(), {before_mac});
}

const KeyringSlot& the_active(const std::vector<KeyringSlot>& slots) {
  const auto found = std::find_if(slots.begin(), slots.end(),
                                  [](const KeyringSlot& slot) { return slot.role == VersionRole::active; });
  if (found == slots.end()) std::abort();
  return *found;
}

}  // namespace

std::string keyring_blob_name(Generation generation) {
  return std::string(kKeyringFolder) + "/" + numbered_name(generation.value, kKeyringExtension);
}

Bytes slot_context(const VaultId& vault, const KeyringSlot& slot) {
  ByteWriter writer;
  writer.id(vault);
  writer.u64(slot.wrapped_in.value);
  writer.u8(static_cast<std::uint8_t>(slot.kind));
  writer.text(slot.key_vault);
  writer.text(slot.key);
  writer.text(slot.version);
  return std::move(writer).take();
}

Result<Bytes> seal_link(const VaultId& vault, Generation generation, const KeyringSlot& slot,
                        const SecretBuffer& older_key, const SecretBuffer& keyring_key) {
  return seal_box(older_key, kLinkLabel, link_aad(vault, generation, slot), keyring_key.view());
}

Result<SecretBuffer> open_link(const VaultId& vault, Generation generation, const KeyringSlot& slot,
                               const SecretBuffer& older_key) {
  return open_box(older_key, kLinkLabel, link_aad(vault, generation, slot), slot.link);
}

Result<KeyringSecrets> KeyringSecrets::clone() const {
  KeyringSecrets copy;
  VAULTFS_ASSIGN_OR_RETURN(copy.root_key, root_key.clone());
  VAULTFS_ASSIGN_OR_RETURN(copy.id_key, id_key.clone());
  for (const auto& [number, epoch] : epochs) {
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, epoch.dek.clone());
    copy.epochs.emplace(number, EpochRecord{std::move(dek), epoch.created, epoch.last_segment});
  }
  for (const auto& [name, key] : retiring_keys) {
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key_copy, key.clone());
    copy.retiring_keys.emplace(name, std::move(key_copy));
  }
  copy.settings = settings;
  copy.rule = rule;
  copy.incarnation = incarnation;
  copy.escrow = escrow;
  copy.void_platform_key = void_platform_key;
  copy.last_update = last_update;
  return copy;
}

void KeyringSecrets::wipe_keys() noexcept {
  root_key.reset();
  id_key.reset();
  for (auto& [number, epoch] : epochs) epoch.dek.reset();
  retiring_keys.clear();
}

const KeyringSlot& Keyring::active_slot() const { return the_active(slots); }
const KeyringSlot& ClosedKeyring::active_slot() const { return the_active(slots); }
bool ClosedKeyring::of_older_form() const { return format <= kOldKeyringFormats; }

Result<Keyring> Keyring::clone() const {
  VAULTFS_ASSIGN_OR_RETURN(KeyringSecrets secrets_copy, secrets.clone());
  return Keyring{vault, generation, predecessor, header_digest, slots, escrow, std::move(secrets_copy)};
}

Result<Bytes> Keyring::seal(const SecretBuffer& keyring_key) const {
  if (escrow.has_value() != secrets.escrow.has_value()) std::abort();  // whoever changes one has to change the other
  ByteWriter writer;
  writer.raw(bytes_of(kKeyringMagic));
  writer.u16(keyring_format(escrow));
  writer.id(vault);
  writer.u64(generation.value);
  writer.id(predecessor);
  writer.id(header_digest);
  const std::size_t slots_begin = writer.size();
  encode_slots(writer, slots, escrow);
  const Digest clear_digest = sha256(writer.view());
  const Digest slots_digest = sha256(writer.view().subspan(slots_begin));

  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer salt, SecretBuffer::random(kKeyringSaltBytes));
  VAULTFS_ASSIGN_OR_RETURN(const CommittedKey derived, derive_committed_key(keyring_key, salt.view(), kKeyringLabel,
                                                                            key_context(vault, generation)));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer plain, encode_secrets(secrets, slots_digest, keyring_format(escrow)));
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<Aead> aead, make_aes_256_gcm(derived.key));
  Bytes sealed(plain.size() + kAeadTagBytes);
  VAULTFS_RETURN_IF_ERROR(aead->seal(kNonce, clear_digest.view(), plain.view(), sealed));

  writer.raw(salt.view());
  writer.id(derived.commitment);
  writer.raw(sealed);
  VAULTFS_ASSIGN_OR_RETURN(const Digest mac, keyring_mac(secrets.root_key, writer.view()));
  writer.id(mac);
  const Digest digest = sha256(writer.view());
  writer.id(digest);
  Bytes file = std::move(writer).take();
  // What is beyond the format's limits must not reach the disk as a keyring that nobody can read.
  const auto readable = open_keyring(file, keyring_key);
  if (!readable.ok()) {
    return Error{ErrorCode::InvalidArgument,
                 "the new keyring is beyond the format's limits: " + readable.error().message};
  }
  return file;
}

Result<ClosedKeyring> ClosedKeyring::decode(ByteView file) {
  VAULTFS_ASSIGN_OR_RETURN(KeyringFileParts parts, split_keyring(file));
  return std::move(parts.closed);
}

Status check_keyring_mac(ByteView file, const SecretBuffer& root_key) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyringFileParts parts, split_keyring(file));
  VAULTFS_ASSIGN_OR_RETURN(const Digest mac, keyring_mac(root_key, parts.before_mac));
  if (constant_time_equal(mac.view(), parts.mac.view())) return ok_status();
  return Error{ErrorCode::AuthenticationFailed, "the keyring is not authenticated by the vault's root key"};
}

Result<Keyring> open_keyring(ByteView file, const SecretBuffer& keyring_key) {
  VAULTFS_ASSIGN_OR_RETURN(KeyringFileParts parts, split_keyring(file));
  ClosedKeyring& closed = parts.closed;
  auto key = derive_checked_key(keyring_key, parts.salt, kKeyringLabel, key_context(closed.vault, closed.generation),
                                parts.commitment);
  if (!key.ok()) {
    if (key.code() != ErrorCode::KeyCommitmentMismatch) return std::move(key).error();
    return Error{ErrorCode::WrongKey, "the unwrapped key is not the one that the keyring is sealed under"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<Aead> aead, make_aes_256_gcm(*key));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain, SecretBuffer::allocate(parts.sealed.size() - kAeadTagBytes));
  VAULTFS_RETURN_IF_ERROR(aead->open(kNonce, sha256(parts.clear).view(), parts.sealed, plain.mutable_view()));
  VAULTFS_ASSIGN_OR_RETURN(KeyringSecrets secrets, decode_secrets(plain, sha256(parts.slots), closed));
  VAULTFS_RETURN_IF_ERROR(check_keyring_mac(file, secrets.root_key));
  return Keyring{closed.vault,         closed.generation,       closed.predecessor,
                 closed.header_digest, std::move(closed.slots), std::move(closed.escrow),
                 std::move(secrets)};
}

Result<PlatformKeyId> platform_key_of(const KeyringSlot& slot) {
  Bytes bytes;
  PlatformKeyId id;
  if (slot.kind != SlotKind::platform || !from_hex(slot.version, bytes) || bytes.size() != PlatformKeyId::kSize) {
    return Error{ErrorCode::DamagedKeyring, "a keyring's slot names no platform key"};
  }
  std::copy(bytes.begin(), bytes.end(), id.mutable_view().begin());
  return id;
}

VersionRecord record_of(const KeyringSlot& slot, const Keyring& keyring) {
  VersionRecord record;
  record.key_vault = slot.key_vault;
  record.key = slot.key;
  record.version = slot.version;
  record.took_effect_lsn = VersionRecord::kNotInEffect;
  record.first_epoch = keyring.secrets.epochs.begin()->first;
  return record;
}

Status check_key_may_be_set(const EncryptionSettings& settings) {
  if (settings.customer_managed || !settings.item_ever_attempted) return ok_status();
  return Error{ErrorCode::EncryptionNotChangeable,
               "the vault is platform-managed and an item was registered or attempted already: customer-managed keys "
               "are for new vaults only; create another vault with --key"};
}

void replace_active_slot(Keyring& next, const KeyringSlot& fresh) {
  const VersionName now = fresh.name();
  // The same version may wait under those names already: it is needed once.
  std::erase_if(next.slots,
                [&](const KeyringSlot& slot) { return slot.role == VersionRole::retiring && slot.name() == now; });
  next.secrets.retiring_keys.erase(now);
  for (KeyringSlot& slot : next.slots) {
    if (slot.role != VersionRole::active) continue;
    next.secrets.rule.rename(slot.name(), now);
    slot = fresh;
  }
}

// The Active slot becomes Retiring: it keeps its wrap, the sealed part remembers the key that is in it.
Status supersede_active_slot(Keyring& next, const SecretBuffer& current_key, KeyringSlot fresh) {
  const auto active = std::find_if(next.slots.begin(), next.slots.end(),
                                   [](const KeyringSlot& slot) { return slot.role == VersionRole::active; });
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer older, current_key.clone());
  active->role = VersionRole::retiring;
  next.secrets.retiring_keys.insert_or_assign(active->name(), std::move(older));
  // A version that comes back as the Active one needs its Retiring slot no more.
  std::erase_if(next.slots, [&](const KeyringSlot& slot) { return slot.name() == fresh.name(); });
  next.secrets.retiring_keys.erase(fresh.name());
  next.slots.insert(next.slots.begin(), std::move(fresh));
  return ok_status();
}

}  // namespace vaultfs
