#include "vaultmeta/heads/head.h"

#include <bit>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::string_view kHeadMagic = "VAULTFHD";
constexpr std::size_t kMaxOptionalFieldBytes = 4096;
constexpr std::uint16_t kPacksTag = 1;
constexpr std::size_t kPacksBytes = 8 + Digest::kSize;
constexpr std::size_t kPacksFieldBytes = 2 + 4 + kPacksBytes;

Error rollback(const std::string& what) {
  return {ErrorCode::RollbackDetected,
          what +
              "; if another copy was put in place on purpose, accept it by 'vaultctl vault trust VAULT "
              "--accept-older --fingerprint F' with its newest fingerprint"};
}

void encode_format_1(ByteWriter& writer, const Head& head) {
  writer.id(head.vault);
  writer.u64(head.generation.value);
  writer.u64(head.incarnation);
  writer.id(head.predecessor);
  writer.i64(head.written.value);
  writer.u64(head.keyring_generation.value);
  writer.id(head.keyring);
  writer.u64(head.checkpoint.value);
  writer.id(head.checkpoint_digest);
  writer.u64(head.journal.value);
  writer.u64(head.journal_lsn.value);
  writer.u64(head.activity_entries);
  writer.id(head.activity_chain);
  writer.u64(head.highest_segment.value);
  writer.u64(head.epoch.value);
}

void decode_format_1(ByteReader& reader, Head& head) {
  head.vault = reader.id<VaultId>();
  head.generation = Generation(reader.u64());
  head.incarnation = reader.u64();
  head.predecessor = reader.id<Digest>();
  head.written.value = reader.i64();
  head.keyring_generation = Generation(reader.u64());
  head.keyring = reader.id<Digest>();
  head.checkpoint = ContainerNumber(reader.u64());
  head.checkpoint_digest = reader.id<Digest>();
  head.journal = ContainerNumber(reader.u64());
  head.journal_lsn = Lsn(reader.u64());
  head.activity_entries = reader.u64();
  head.activity_chain = reader.id<Digest>();
  head.highest_segment = ContainerNumber(reader.u64());
  head.epoch = EpochNumber(reader.u64());
}

void decode_format_2(ByteReader& reader, Head& head) {
  head.vault = reader.id<VaultId>();
  head.generation = Generation(reader.u64());
  head.incarnation = reader.u64();
  head.predecessor = reader.id<Digest>();
  head.written.value = reader.i64();
  head.writer = reader.u64();
  head.keyring_generation = Generation(reader.u64());
  head.keyring = reader.id<Digest>();
  head.epoch = EpochNumber(reader.u64());
  head.checkpoint = ContainerNumber(reader.u64());
  head.checkpoint_bytes = reader.u64();
  head.checkpoint_digest = reader.id<Digest>();
  head.journal = ContainerNumber(reader.u64());
  head.journal_header = reader.id<Digest>();
  head.journal_bytes = reader.u64();
  head.journal_digest = reader.id<Digest>();
  head.journal_lsn = Lsn(reader.u64());
  head.points_lsn = Lsn(reader.u64());
  head.points = reader.id<Digest>();
  head.activity_entries = reader.u64();
  head.activity_chain = reader.id<Digest>();
  head.activity_file = ContainerNumber(reader.u64());
  head.highest_segment = ContainerNumber(reader.u64());
}

// A feature that no program of today writes: its bit says so before the first byte that needs it.
Status decode_features(ByteReader& reader, HeadFeatures& features) {
  features.compatible = reader.u64();
  features.read_only_compatible = reader.u64();
  features.incompatible = reader.u64();
  if (features.incompatible == 0) return ok_status();
  return Error{ErrorCode::UnsupportedFormat,
               "the vault was made by a newer vaultfs: it uses the incompatible feature " +
                   std::to_string(std::countr_zero(features.incompatible)) + ", which this program does not know"};
}

// From one head to the next none of these gets lower.
bool falls(const Head& older, const Head& newer) {
  return newer.format < older.format || newer.epoch < older.epoch || newer.incarnation < older.incarnation;
}

Error fallen(const Head& head) {
  return {ErrorCode::DamagedHead,
          "head " + std::to_string(head.generation.value) +
              " has an older format, DEK epoch or incarnation than the head before it: "
              "somebody who lost access to the vault may have made it; put heads/ back from a copy"};
}

// Optional fields, each u16 tag ‖ blob, the tags ascending: those that are not known are passed over.
void read_optional_fields(ByteReader& reader, std::size_t bytes, Head& head) {
  ByteReader fields(reader.raw(bytes));
  std::optional<std::uint16_t> before;
  while (fields.remaining() > 0 && !fields.failed()) {
    const std::uint16_t tag = fields.u16();
    ByteReader field(fields.blob(kMaxOptionalFieldBytes));
    if (tag == kPacksTag) {
      head.packs.last = Generation(field.u64());
      head.packs.digest = field.id<Digest>();
      if (field.failed() || field.remaining() > 0 || head.packs.last.value == 0) fields.fail();
    }
    if (before.has_value() && tag <= *before) fields.fail();
    before = tag;
  }
  if (fields.failed()) reader.fail();
}

}  // namespace

Bytes Head::encode() const {
  ByteWriter out;
  out.raw(bytes_of(kHeadMagic));
  out.u16(format);
  if (format == kFormat1) {
    encode_format_1(out, *this);
    return std::move(out).take();
  }
  const bool packed = packs.last.value != 0;
  out.u32(static_cast<std::uint32_t>(kFormat2Bytes + (packed ? kPacksFieldBytes : 0)));
  out.u64(features.compatible);
  out.u64(features.read_only_compatible);
  out.u64(features.incompatible);
  out.id(vault);
  out.u64(generation.value);
  out.u64(incarnation);
  out.id(predecessor);
  out.i64(written.value);
  out.u64(writer);
  out.u64(keyring_generation.value);
  out.id(keyring);
  out.u64(epoch.value);
  out.u64(checkpoint.value);
  out.u64(checkpoint_bytes);
  out.id(checkpoint_digest);
  out.u64(journal.value);
  out.id(journal_header);
  out.u64(journal_bytes);
  out.id(journal_digest);
  out.u64(journal_lsn.value);
  out.u64(points_lsn.value);
  out.id(points);
  out.u64(activity_entries);
  out.id(activity_chain);
  out.u64(activity_file.value);
  out.u64(highest_segment.value);
  if (packed) {
    out.u16(kPacksTag);
    out.u32(static_cast<std::uint32_t>(kPacksBytes));
    out.u64(packs.last.value);
    out.id(packs.digest);
  }
  return std::move(out).take();
}

Bytes Head::file_of(ByteView body, std::uint16_t format, const Digest& mac) {
  Bytes file = to_bytes(body);
  append(file, mac.view());
  if (format != kFormat1) append(file, sha256(file).view());
  return file;
}

Result<Head::Signed> Head::decode(ByteView file) {
  ByteReader reader(file);
  const ByteView magic = reader.raw(kHeadMagic.size());
  const std::uint16_t version = reader.u16();
  if (reader.failed() || !bytes_equal(magic, bytes_of(kHeadMagic))) {
    return Error{ErrorCode::DamagedHead, "a head file does not begin like one"};
  }
  Signed result;
  result.head.format = version;
  if (version == kFormat1) {
    decode_format_1(reader, result.head);
    result.mac = reader.id<Digest>();
  } else {
    // Every version from 2 on ends with the digest of all before: damage is never taken for a newer version.
    if (file.size() < kFormat2Bytes ||
        !bytes_equal(sha256(file.first(file.size() - Digest::kSize)).view(), file.last(Digest::kSize))) {
      return Error{ErrorCode::DamagedHead, "a head file does not have the digest that it ends with"};
    }
    if (version != kFormat2) {
      return Error{ErrorCode::UnsupportedFormat,
                   "the vault was made by a newer vaultfs: a head file has format version " + std::to_string(version) +
                       ", this program knows versions up to " + std::to_string(kFormat2)};
    }
    if (reader.u32() != file.size())
      return Error{ErrorCode::DamagedHead, "a head file has another length than it says"};
    VAULTFS_RETURN_IF_ERROR(decode_features(reader, result.head.features));
    decode_format_2(reader, result.head);
    const std::size_t tail = 2 * Digest::kSize;
    if (reader.remaining() < tail) reader.fail();
    if (!reader.failed()) read_optional_fields(reader, reader.remaining() - tail, result.head);
    result.mac = reader.id<Digest>();
    static_cast<void>(reader.id<Digest>());
  }
  const Head& head = result.head;
  if (head.generation.value == 0 || head.incarnation == 0 || head.keyring_generation.value == 0 ||
      head.epoch.value == 0) {
    reader.fail();
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedHead, "a head file"));
  const std::size_t tail = version == kFormat1 ? Digest::kSize : 2 * Digest::kSize;
  result.body = to_bytes(file.first(file.size() - tail));
  result.file_digest = sha256(file);
  return result;
}

Result<Head::Signed> choose_head(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                                 const Digest& pinned_digest) {
  if (newest_first.empty()) {
    if (pinned_generation.value != 0) return rollback("the vault has no head, but this machine has seen one");
    return Error{ErrorCode::DamagedHead, "the vault has no readable head"};
  }
  const Head::Signed& newest = newest_first.front();
  if (newest.head.generation < pinned_generation) {
    return rollback("the vault's newest head is number " + std::to_string(newest.head.generation.value) +
                    ", but this machine has seen number " + std::to_string(pinned_generation.value));
  }
  Generation generation = newest.head.generation;
  Digest digest = newest.file_digest;
  const Head* above = nullptr;
  for (const Head::Signed& at : newest_first) {
    if (at.head.generation != generation || at.file_digest != digest) break;
    if (above != nullptr && falls(at.head, *above)) return fallen(*above);
    above = &at.head;
    if (generation == pinned_generation) break;
    generation = Generation(generation.value - 1);
    digest = at.head.predecessor;
  }
  if (pinned_generation.value == 0) return newest;
  if (generation != pinned_generation || digest != pinned_digest) {
    return rollback("the vault's newest head, number " + std::to_string(newest.head.generation.value) +
                    ", does not continue number " + std::to_string(pinned_generation.value) +
                    " that this machine has seen: another branch of the vault, or heads are missing");
  }
  return newest;
}

bool history_is_cut_off(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                        std::uint64_t pinned_incarnation) {
  if (newest_first.empty() || pinned_generation.value == 0) return false;
  if (newest_first.front().head.incarnation != pinned_incarnation) return false;
  if (newest_first.back().head.generation <= pinned_generation.next()) return false;
  for (std::size_t i = 1; i < newest_first.size(); ++i) {
    const Head& newer = newest_first[i - 1].head;
    const Head::Signed& older = newest_first[i];
    if (older.head.generation.next() != newer.generation || older.file_digest != newer.predecessor) return false;
  }
  return true;
}

}  // namespace vaultfs
