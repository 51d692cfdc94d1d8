#include "vaultmeta/keys/keyring_form.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "crypto/aead.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMaxAlgorithmBytes = 64;
constexpr std::size_t kMaxWrappedBytes = 4096;
constexpr std::size_t kMaxLinkBytes = 512;
constexpr std::size_t kMinSlotBytes = 2 + 5 * 4 + 8 + 2 * 4;
constexpr std::size_t kMaxUpdateBytes = 64;     // of what a change of keys was
constexpr std::size_t kMaxSubjectBytes = 1024;  // of what it was about: a version, a reference, an identity
constexpr std::size_t kEpochBytes = 8 + 8 + 1 + 8 + kKeyringKeyBytes;

Error damaged_keyring(const std::string& what) {
  return Error{ErrorCode::DamagedKeyring, "a keyring is damaged: " + what};
}

KeyringSlot decode_slot(ByteReader& reader) {
  KeyringSlot slot;
  const std::uint8_t kind = reader.u8();
  const std::uint8_t role = reader.u8();
  slot.key_vault = reader.text(RotationRule::kMaxNameBytes);
  slot.key = reader.text(RotationRule::kMaxNameBytes);
  slot.version = reader.text(RotationRule::kMaxVersionBytes);
  slot.algorithm = reader.text(kMaxAlgorithmBytes);
  slot.identity = reader.text(RotationRule::kMaxNameBytes);
  slot.wrapped_in = Generation(reader.u64());
  slot.wrapped = to_bytes(reader.blob(kMaxWrappedBytes));
  slot.link = to_bytes(reader.blob(kMaxLinkBytes));
  const bool known_kind =
      kind == static_cast<std::uint8_t>(SlotKind::key_vault) || kind == static_cast<std::uint8_t>(SlotKind::platform);
  const bool is_active = role == static_cast<std::uint8_t>(VersionRole::active);
  const bool is_retiring = role == static_cast<std::uint8_t>(VersionRole::retiring);
  if (!known_kind || (!is_active && !is_retiring) || slot.version.empty() || slot.wrapped.empty() ||
      slot.link.empty() == is_retiring) {
    reader.fail();
    return slot;
  }
  slot.kind = static_cast<SlotKind>(kind);
  slot.role = static_cast<VersionRole>(role);
  return slot;
}

std::vector<KeyringSlot> decode_slots(ByteReader& reader) {
  std::vector<KeyringSlot> slots;
  const std::uint32_t count = reader.count(kMinSlotBytes);
  if (count > kMaxKeyringSlots) reader.fail();
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) slots.push_back(decode_slot(reader));
  const auto active = std::count_if(slots.begin(), slots.end(),
                                    [](const KeyringSlot& slot) { return slot.role == VersionRole::active; });
  if (active != 1) reader.fail();
  return slots;
}

// 4, 5, 6 and what they were before.
bool is_current(std::uint16_t format) noexcept { return format >= kKeyringFormatVersion; }
std::uint16_t current_form_of(std::uint16_t format) noexcept {
  return is_current(format) ? format : static_cast<std::uint16_t>(format + kOldKeyringFormats);
}

EscrowSlot decode_escrow_slot(ByteReader& reader, std::uint16_t version) {
  EscrowSlot slot;
  slot.fingerprint = reader.id<Digest>();
  slot.wrapped_in = Generation(reader.u64());
  slot.wrapped = to_bytes(reader.blob(kMaxEscrowWrappedBytes));
  if (slot.wrapped.empty()) reader.fail();
  if (current_form_of(version) != kKeyringFormatWithInfrastructure) return slot;
  slot.wrapped_infrastructure_key = to_bytes(reader.blob(kMaxEscrowWrappedBytes));
  if (slot.wrapped_infrastructure_key.empty()) reader.fail();
  return slot;
}

EscrowRecipient decode_recipient(ByteReader& reader) {
  EscrowRecipient recipient;
  recipient.public_key = to_bytes(reader.blob(kMaxEscrowKeyBytes));
  recipient.since.value = reader.i64();
  if (recipient.public_key.empty()) reader.fail();
  return recipient;
}

void encode_history(ByteWriter& writer, const KeyringSecrets& secrets) {
  writer.boolean(secrets.void_platform_key.has_value());
  writer.id(secrets.void_platform_key.value_or(PlatformKeyId()));
  writer.boolean(secrets.last_update.has_value());
  const KeyUpdate update = secrets.last_update.value_or(KeyUpdate());
  writer.u64(update.job.value);
  writer.text(update.what);
  writer.text(update.version);
  writer.i64(update.time.value);
}

void decode_history(ByteReader& reader, KeyringSecrets& secrets) {
  const bool has_void = reader.boolean();
  const auto void_key = reader.id<PlatformKeyId>();
  if (has_void == void_key.is_zero()) reader.fail();
  if (has_void) secrets.void_platform_key = void_key;
  const bool updated = reader.boolean();
  KeyUpdate update;
  update.job = JobNumber(reader.u64());
  update.what = reader.text(kMaxUpdateBytes);
  update.version = reader.text(kMaxSubjectBytes);
  update.time = UnixNanos{reader.i64()};
  if (updated != (update != KeyUpdate()) || (updated && (update.job.value == 0 || update.what.empty()))) reader.fail();
  if (updated) secrets.last_update = std::move(update);
}

// Everything of the sealed part that is no secret.
void encode_open_part(ByteWriter& writer, const KeyringSecrets& secrets, const Digest& slots, std::uint16_t format) {
  const EncryptionSettings& settings = secrets.settings;
  writer.boolean(settings.customer_managed);
  writer.text(settings.key_vault);
  writer.text(settings.key);
  writer.boolean(settings.pinned_version.has_value());
  writer.text(settings.pinned_version.value_or(""));
  writer.text(settings.identity);
  writer.boolean(settings.item_ever_attempted);
  writer.u32(settings.refresh_minutes);
  writer.u32(settings.revocation_grace_seconds);
  writer.u32(settings.outage_ttl_seconds);
  secrets.rule.encode(writer, is_current(format));
  writer.u64(secrets.incarnation);
  if (secrets.escrow) {
    writer.blob(secrets.escrow->public_key);
    writer.i64(secrets.escrow->since.value);
  }
  if (is_current(format)) encode_history(writer, secrets);
  writer.id(slots);
}

EncryptionSettings decode_settings(ByteReader& reader) {
  EncryptionSettings settings;
  settings.customer_managed = reader.boolean();
  settings.key_vault = reader.text(RotationRule::kMaxNameBytes);
  settings.key = reader.text(RotationRule::kMaxNameBytes);
  const bool pinned = reader.boolean();
  std::string version = reader.text(RotationRule::kMaxVersionBytes);
  if (pinned == version.empty()) reader.fail();
  if (pinned) settings.pinned_version = std::move(version);
  settings.identity = reader.text(RotationRule::kMaxNameBytes);
  settings.item_ever_attempted = reader.boolean();
  settings.refresh_minutes = reader.u32();
  settings.revocation_grace_seconds = reader.u32();
  settings.outage_ttl_seconds = reader.u32();
  if (settings.refresh_minutes == 0 || settings.refresh_minutes > kMaxRefreshMinutes) reader.fail();
  return settings;
}

// Calls `piece` with every run of bytes of the sealed part, in order: first to measure, then to copy, so that no secret
// passes through memory that is not locked.
template <typename Piece>
void for_each_piece(const KeyringSecrets& secrets, ByteView open_part, const Piece& piece) {
  piece(secrets.root_key.view());
  piece(secrets.id_key.view());
  ByteWriter epochs;
  epochs.u32(static_cast<std::uint32_t>(secrets.epochs.size()));
  piece(epochs.view());
  for (const auto& [number, epoch] : secrets.epochs) {
    ByteWriter head;
    head.u64(number.value);
    head.i64(epoch.created.value);
    head.boolean(epoch.last_segment.has_value());
    head.u64(epoch.last_segment.value_or(ContainerNumber(0)).value);
    piece(head.view());
    piece(epoch.dek.view());
  }
  ByteWriter retiring;
  retiring.u32(static_cast<std::uint32_t>(secrets.retiring_keys.size()));
  piece(retiring.view());
  for (const auto& [name, key] : secrets.retiring_keys) {
    ByteWriter head;
    head.text(name.version);
    piece(head.view());
    piece(key.view());
  }
  piece(open_part);
}

Result<SecretBuffer> read_key(ByteReader& reader) {
  const ByteView view = reader.raw(kKeyringKeyBytes);
  if (view.size() != kKeyringKeyBytes) return damaged_keyring("its sealed part ends early");
  return SecretBuffer::copy_of(view);
}

// In the order in which their keys are stored.
std::vector<VersionName> retiring_names(const std::vector<KeyringSlot>& slots) {
  std::vector<VersionName> names;
  for (const KeyringSlot& slot : slots) {
    if (slot.role == VersionRole::retiring) names.push_back(slot.name());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status read_keys(ByteReader& reader, const std::vector<KeyringSlot>& slots, KeyringSecrets& secrets) {
  VAULTFS_ASSIGN_OR_RETURN(secrets.root_key, read_key(reader));
  VAULTFS_ASSIGN_OR_RETURN(secrets.id_key, read_key(reader));
  const std::uint32_t epochs = reader.count(kEpochBytes);
  if (epochs == 0 || epochs > kMaxKeyringEpochs) return damaged_keyring("a wrong number of epochs");
  for (std::uint32_t i = 0; i < epochs; ++i) {
    const EpochNumber number(reader.u64());
    EpochRecord epoch;
    epoch.created = UnixNanos{reader.i64()};
    const bool closed = reader.boolean();
    const ContainerNumber last(reader.u64());
    if (closed) epoch.last_segment = last;
    if (!closed && last.value != 0) return damaged_keyring("an open epoch with a last segment");
    VAULTFS_ASSIGN_OR_RETURN(epoch.dek, read_key(reader));
    const bool in_order = secrets.epochs.empty() || secrets.epochs.rbegin()->first < number;
    if (number.value == 0 || !in_order) return damaged_keyring("its epochs are out of order");
    secrets.epochs.emplace(number, std::move(epoch));
  }
  // Only the version's id is stored; which key's it is, the slots tell.
  const std::vector<VersionName> names = retiring_names(slots);
  if (reader.count(4 + kKeyringKeyBytes) != names.size())
    return damaged_keyring("its retiring keys are not those of its slots");
  for (const VersionName& name : names) {
    const std::string version = reader.text(RotationRule::kMaxVersionBytes);
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, read_key(reader));
    if (version != name.version) return damaged_keyring("its retiring keys are out of order");
    if (!secrets.retiring_keys.emplace(name, std::move(key)).second)
      return damaged_keyring("two slots of one key version");
  }
  return ok_status();
}

// The slot of a version that the rule needs. An older vaultfs wrapped a version anew under the names where it was found
// and left its record at those of before: there the id decides, if it is one slot's only.
const KeyringSlot* slot_of(const VersionRecord& record, const std::vector<KeyringSlot>& slots) {
  const KeyringSlot* by_id = nullptr;
  std::size_t with_id = 0;
  for (const KeyringSlot& slot : slots) {
    if (slot.role != record.role || slot.version != record.version) continue;
    if (slot.name() == record.name()) return &slot;
    by_id = &slot;
    ++with_id;
  }
  return with_id == 1 ? by_id : nullptr;
}

// Each version that the rule needs has its slot, and nothing else has. The rule gets the slots' names.
bool tells_one_story(KeyringSecrets& secrets, const std::vector<KeyringSlot>& slots) {
  std::set<VersionName> needed;
  const std::vector<VersionRecord> records = secrets.rule.versions();
  for (const VersionRecord& record : records) {
    if (record.role == VersionRole::retired) continue;
    const KeyringSlot* slot = slot_of(record, slots);
    if (slot == nullptr || !needed.insert(slot->name()).second) return false;
    secrets.rule.rename(record.name(), slot->name());
  }
  return needed.size() == slots.size();
}

}  // namespace

std::uint16_t keyring_format(const std::optional<EscrowSlot>& escrow) {
  if (!escrow) return kKeyringFormatVersion;
  return escrow->wrapped_infrastructure_key.empty() ? kKeyringFormatWithEscrow : kKeyringFormatWithInfrastructure;
}

void encode_slots(ByteWriter& writer, const std::vector<KeyringSlot>& slots, const std::optional<EscrowSlot>& escrow) {
  writer.u32(static_cast<std::uint32_t>(slots.size()));
  for (const KeyringSlot& slot : slots) {
    writer.u8(static_cast<std::uint8_t>(slot.kind));
    writer.u8(static_cast<std::uint8_t>(slot.role));
    writer.text(slot.key_vault);
    writer.text(slot.key);
    writer.text(slot.version);
    writer.text(slot.algorithm);
    writer.text(slot.identity);
    writer.u64(slot.wrapped_in.value);
    writer.blob(slot.wrapped);
    writer.blob(slot.link);
  }
  if (!escrow) return;
  writer.id(escrow->fingerprint);
  writer.u64(escrow->wrapped_in.value);
  writer.blob(escrow->wrapped);
  if (!escrow->wrapped_infrastructure_key.empty()) writer.blob(escrow->wrapped_infrastructure_key);
}

Result<KeyringFileParts> split_keyring(ByteView file) {
  constexpr std::size_t kTail = kKeyringSaltBytes + Digest::kSize + kAeadTagBytes + Digest::kSize + Digest::kSize;
  if (file.size() < kKeyringMagic.size() + 2 + kTail || file.size() > kMaxKeyringBytes)
    return damaged_keyring("a wrong length");
  // Every format version begins with the magic and ends with this digest: damage is never taken for a newer version,
  // and a rotten version id never for a revoked key.
  const ByteView body = file.first(file.size() - Digest::kSize);
  if (text_of(file.first(kKeyringMagic.size())) != kKeyringMagic) return damaged_keyring("it does not begin like one");
  if (!bytes_equal(sha256(body).view(), file.last(Digest::kSize))) return damaged_keyring("its digest does not match");
  ByteReader reader(body.subspan(kKeyringMagic.size()));
  const std::uint16_t version = reader.u16();
  if (version < kOldestKeyringFormat || version > kKeyringFormatWithInfrastructure) {
    return Error{ErrorCode::UnsupportedFormat,
                 "the keyring has format version " + std::to_string(version) + ", this program reads versions up to " +
                     std::to_string(kKeyringFormatWithInfrastructure) + "; use a newer vaultfs"};
  }
  KeyringFileParts parts;
  parts.closed.format = version;
  parts.closed.vault = reader.id<VaultId>();
  parts.closed.generation = Generation(reader.u64());
  parts.closed.predecessor = reader.id<Digest>();
  parts.closed.header_digest = reader.id<Digest>();
  const std::size_t slots_begin = body.size() - reader.remaining();
  parts.closed.slots = decode_slots(reader);
  if (current_form_of(version) != kKeyringFormatVersion) parts.closed.escrow = decode_escrow_slot(reader, version);
  const std::size_t slots_end = body.size() - reader.remaining();
  parts.salt = reader.raw(kKeyringSaltBytes);
  parts.commitment = reader.id<Digest>();
  if (reader.failed() || reader.remaining() < kAeadTagBytes + Digest::kSize)
    return damaged_keyring("its fields are wrong");
  parts.clear = body.first(slots_end);
  parts.slots = body.subspan(slots_begin, slots_end - slots_begin);
  parts.sealed = reader.raw(reader.remaining() - Digest::kSize);
  parts.mac = reader.id<Digest>();
  parts.before_mac = body.first(body.size() - Digest::kSize);
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedKeyring, "a keyring"));
  if (parts.closed.vault.is_zero() || parts.closed.generation.value == 0) return damaged_keyring("it names no vault");
  return parts;
}

Result<SecretBuffer> encode_secrets(const KeyringSecrets& secrets, const Digest& slots, std::uint16_t format) {
  ByteWriter open_part;
  encode_open_part(open_part, secrets, slots, format);
  std::size_t size = 0;
  for_each_piece(secrets, open_part.view(), [&](ByteView piece) { size += piece.size(); });
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain, SecretBuffer::allocate(size));
  std::size_t at = 0;
  for_each_piece(secrets, open_part.view(), [&](ByteView piece) {
    if (!piece.empty()) std::memcpy(plain.mutable_view().data() + at, piece.data(), piece.size());
    at += piece.size();
  });
  return plain;
}

Result<KeyringSecrets> decode_secrets(const SecretBuffer& plain, const Digest& slots_digest,
                                      const ClosedKeyring& closed) {
  ByteReader reader(plain.view());
  KeyringSecrets secrets;
  VAULTFS_RETURN_IF_ERROR(read_keys(reader, closed.slots, secrets));
  secrets.settings = decode_settings(reader);
  secrets.rule = RotationRule::decode(reader, is_current(closed.format));
  secrets.incarnation = reader.u64();
  if (closed.escrow) secrets.escrow = decode_recipient(reader);
  if (is_current(closed.format)) decode_history(reader, secrets);
  const auto stored = reader.id<Digest>();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedKeyring, "the sealed part of a keyring"));
  if (!constant_time_equal(stored.view(), slots_digest.view()))
    return damaged_keyring("its slots are not those it was sealed with");
  if (closed.escrow && escrow_fingerprint(secrets.escrow->public_key) != closed.escrow->fingerprint) {
    return damaged_keyring("its escrow slot is for another key than the recipient's");
  }
  if (!tells_one_story(secrets, closed.slots))
    return damaged_keyring("its slots and its versions contradict each other");
  return secrets;
}

}  // namespace vaultfs
