#include "store/record/record.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "crypto/memory/plaintext_memory.h"
#include "store/record/checksum.h"
#include "store/record/frame_compression.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kCompressedBit = 0x80000000U;
constexpr std::size_t kHeaderBytesInAad = 72;

Error damaged_record(const char* what) { return Error{ErrorCode::DamagedRecord, what}; }

void put_u32(MutableByteView out, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) out[i] = static_cast<std::byte>((value >> (8U * i)) & 0xffU);
}

// What follows the container's context in the AAD: record bytes 0–71 ‖ u32 frame ‖ u32 frame table entry.
class FrameAad {
 public:
  explicit FrameAad(const RecordHeader& header) {
    std::array<std::byte, RecordHeader::kEncodedBytes> encoded{};
    header.encode(encoded);
    std::copy_n(encoded.begin(), kHeaderBytesInAad, bytes_.begin());
  }
  [[nodiscard]] ByteView of(std::uint32_t index, std::uint32_t entry) {
    put_u32(MutableByteView(bytes_).subspan(kHeaderBytesInAad, 4), index);
    put_u32(MutableByteView(bytes_).subspan(kHeaderBytesInAad + 4, 4), entry);
    return bytes_;
  }

 private:
  std::array<std::byte, kHeaderBytesInAad + 8> bytes_{};
};

// Room for one compressed frame or one opened, still compressed one.
PlaintextScratch::Use frame_scratch(std::size_t size) {
  thread_local PlaintextScratch scratch;
  return scratch.use(size);
}

RecordHeader header_of(const RecordDraft& draft, std::size_t plaintext_bytes) {
  RecordHeader header;
  header.type = draft.type;
  header.frame_log2 = draft.frame_log2;
  header.nonce_base = draft.nonce_base;
  header.sequence = draft.sequence;
  header.synced_lsn = draft.synced_lsn;
  header.id = draft.id;
  header.plaintext_bytes = static_cast<std::uint32_t>(plaintext_bytes);
  header.frame_count = frame_count_of(plaintext_bytes, draft.frame_log2);
  return header;
}

// Gives the plaintext frame by frame.
class FrameSource {
 public:
  explicit FrameSource(std::span<const ByteView> pieces) : pieces_(pieces) {}

  // The next `size` bytes; there are as many. Valid until the next call.
  [[nodiscard]] ByteView next(std::size_t size) {
    gathered_.reset();
    while (left_.empty()) advance();
    if (left_.size() >= size) return take(size);
    thread_local PlaintextScratch scratch;
    gathered_.emplace(scratch.use(size));
    for (std::size_t at = 0; at < size;) {
      while (left_.empty()) advance();
      const ByteView part = take(std::min(size - at, left_.size()));
      std::copy(part.begin(), part.end(), gathered_->bytes().begin() + static_cast<std::ptrdiff_t>(at));
      at += part.size();
    }
    return gathered_->bytes();
  }

 private:
  void advance() {
    left_ = pieces_.front();
    pieces_ = pieces_.subspan(1);
  }
  ByteView take(std::size_t size) {
    const ByteView taken = left_.first(size);
    left_ = left_.subspan(size);
    return taken;
  }

  std::span<const ByteView> pieces_;
  ByteView left_;  // of the piece before them
  std::optional<PlaintextScratch::Use> gathered_;
};

Status check_size(std::size_t plaintext_bytes) {
  if (plaintext_bytes == 0 || plaintext_bytes > kMaxRecordBytes) {
    return Error{ErrorCode::InvalidArgument, "a record holds 1 byte to 16 MiB"};
  }
  return ok_status();
}

// Header, checksum and padding around a payload that is already in place; the record's size.
std::size_t finish_record(const RecordHeader& header, MutableByteView out) {
  header.encode(out.first(RecordHeader::kEncodedBytes));
  const std::size_t covered = RecordHeader::kEncodedBytes + header.payload_bytes;
  const auto checksum = checksum128(ByteView(out).first(covered));
  std::copy(checksum.begin(), checksum.end(), out.begin() + static_cast<std::ptrdiff_t>(covered));
  const auto size = static_cast<std::size_t>(header.stored_bytes());
  const MutableByteView padding = out.subspan(covered + kChecksum128Bytes, size - covered - kChecksum128Bytes);
  std::fill(padding.begin(), padding.end(), std::byte{0});
  return size;
}

}  // namespace

Result<std::size_t> seal_pieces_into(const ContainerCipher& cipher, const RecordDraft& draft,
                                     std::span<const ByteView> pieces, MutableByteView out) {
  std::size_t plaintext_bytes = 0;
  for (const ByteView piece : pieces) plaintext_bytes += piece.size();
  VAULTFS_RETURN_IF_ERROR(check_size(plaintext_bytes));
  if (out.size() < max_stored_bytes(plaintext_bytes, draft.frame_log2, cipher.overhead_bytes())) std::abort();
  RecordHeader header = header_of(draft, plaintext_bytes);
  header.salt = cipher.fresh_salt();
  VAULTFS_ASSIGN_OR_RETURN(const auto sealer, cipher.record(header.salt));
  FrameSource source(pieces);
  FrameAad aad(header);
  MutableByteView table = out.subspan(RecordHeader::kEncodedBytes, std::size_t{4} * header.frame_count);
  std::size_t at = RecordHeader::kEncodedBytes + table.size();
  for (std::uint32_t i = 0; i < header.frame_count; ++i) {
    ByteView content = source.next(header.plaintext_bytes_of(i));
    auto entry = static_cast<std::uint32_t>(content.size());
    std::optional<PlaintextScratch::Use> scratch;
    if (draft.compression != Compression::off && may_compress(content)) {
      scratch.emplace(frame_scratch(content.size() - 1));
      if (const std::size_t size = compress_frame(content, scratch->bytes(), draft.compression); size != 0) {
        content = scratch->bytes().first(size);
        entry = static_cast<std::uint32_t>(size) | kCompressedBit;
      }
    }
    put_u32(table.subspan(std::size_t{4} * i, 4), entry);
    const std::size_t sealed_bytes = content.size() + cipher.overhead_bytes();
    VAULTFS_RETURN_IF_ERROR(
        sealer.seal(header.nonce_base + i, aad.of(i, entry), content, out.subspan(at, sealed_bytes)));
    at += sealed_bytes;
  }
  header.payload_bytes = static_cast<std::uint32_t>(at - RecordHeader::kEncodedBytes);
  return finish_record(header, out);
}

Result<std::size_t> seal_record_into(const ContainerCipher& cipher, const RecordDraft& draft, ByteView plaintext,
                                     MutableByteView out) {
  return seal_pieces_into(cipher, draft, {&plaintext, 1}, out);
}

Status seal_record(const ContainerCipher& cipher, const RecordDraft& draft, ByteView plaintext, Bytes& out) {
  VAULTFS_RETURN_IF_ERROR(check_size(plaintext.size()));
  const std::size_t start = out.size();
  out.resize(start + max_stored_bytes(plaintext.size(), draft.frame_log2, cipher.overhead_bytes()));
  const auto size = seal_record_into(cipher, draft, plaintext, MutableByteView(out).subspan(start));
  out.resize(start + (size.ok() ? *size : 0));
  if (!size.ok()) return size.error();
  return ok_status();
}

Status encode_clear_record(const RecordDraft& draft, ByteView plaintext, Bytes& out) {
  VAULTFS_RETURN_IF_ERROR(check_size(plaintext.size()));
  RecordHeader header = header_of(draft, plaintext.size());
  header.clear = true;
  header.nonce_base = 0;  // it burns none
  header.frame_count = 0;
  header.payload_bytes = header.plaintext_bytes;
  const std::size_t start = out.size();
  out.resize(start + static_cast<std::size_t>(header.stored_bytes()));
  const MutableByteView record = MutableByteView(out).subspan(start);
  std::copy(plaintext.begin(), plaintext.end(), record.begin() + RecordHeader::kEncodedBytes);
  finish_record(header, record);
  return ok_status();
}

Status check_record(const RecordHeader& header, ByteView stored) {
  if (stored.size() != header.stored_bytes()) return damaged_record("a record is cut off");
  const std::size_t covered = RecordHeader::kEncodedBytes + header.payload_bytes;
  if (!checksum128_matches(stored.first(covered), stored.subspan(covered, kChecksum128Bytes))) {
    return damaged_record("a record's checksum does not match");
  }
  if (!is_all_zero(stored.subspan(covered + kChecksum128Bytes)))
    return damaged_record("a record's padding is not zero");
  return ok_status();
}

bool has_right_salt(const RecordHeader& header, std::uint16_t container_version) noexcept {
  return is_all_zero(header.salt) == (header.clear || container_version == 1);
}

Result<Bytes> open_record(const ContainerCipher& cipher, const RecordHeader& header, ByteView stored) {
  VAULTFS_RETURN_IF_ERROR(check_record(header, stored));
  // The caller's header is what gets authenticated; it must be the one that is stored here.
  std::array<std::byte, RecordHeader::kEncodedBytes> encoded{};
  header.encode(encoded);
  if (!bytes_equal(encoded, stored.first(encoded.size()))) return damaged_record("another record stands in this place");
  if (header.clear) return to_bytes(stored.subspan(RecordHeader::kEncodedBytes, header.payload_bytes));
  const ByteView encoded_table = stored.subspan(RecordHeader::kEncodedBytes, std::size_t{4} * header.frame_count);
  VAULTFS_ASSIGN_OR_RETURN(const FrameTable table, FrameTable::decode(header, encoded_table, cipher.overhead_bytes()));
  VAULTFS_ASSIGN_OR_RETURN(const FrameOpener opener, FrameOpener::create(cipher, header));
  Bytes plaintext(header.plaintext_bytes);
  for (std::uint32_t i = 0; i < header.frame_count; ++i) {
    const FrameTable::Frame& frame = table.frames[i];
    VAULTFS_RETURN_IF_ERROR(opener.open(
        table, i, stored.subspan(frame.offset, frame.sealed_bytes),
        MutableByteView(plaintext).subspan(std::size_t{i} << header.frame_log2, header.plaintext_bytes_of(i))));
  }
  return plaintext;
}

Result<FrameTable> FrameTable::decode(const RecordHeader& header, ByteView table, std::size_t overhead_bytes) {
  if (header.clear || table.size() != std::size_t{4} * header.frame_count)
    return damaged_record("a frame table is cut off");
  FrameTable out;
  out.frames.reserve(header.frame_count);
  ByteReader reader(table);
  std::uint64_t at = RecordHeader::kEncodedBytes + table.size();
  for (std::uint32_t i = 0; i < header.frame_count; ++i) {
    Frame frame;
    frame.entry = reader.u32();
    const std::uint32_t content = frame.entry & ~kCompressedBit;
    const std::uint32_t plain = header.plaintext_bytes_of(i);
    const bool fits = (frame.entry & kCompressedBit) != 0 ? content != 0 && content < plain : content == plain;
    if (!fits) return damaged_record("a frame table has a length that it can't have");
    frame.offset = static_cast<std::uint32_t>(at);
    frame.sealed_bytes = content + static_cast<std::uint32_t>(overhead_bytes);
    at += frame.sealed_bytes;
    out.frames.push_back(frame);
  }
  if (at != RecordHeader::kEncodedBytes + std::uint64_t{header.payload_bytes}) {
    return damaged_record("a frame table does not add up to its record's length");
  }
  return out;
}

Result<FrameOpener> FrameOpener::create(const ContainerCipher& cipher, const RecordHeader& header) {
  VAULTFS_ASSIGN_OR_RETURN(auto record, cipher.record(header.salt));
  return FrameOpener(std::move(record), header);
}

Status FrameOpener::open(const FrameTable& table, std::uint32_t index, ByteView sealed, MutableByteView out) const {
  const FrameTable::Frame& frame = table.frames.at(index);
  if (out.size() != header_.plaintext_bytes_of(index) || sealed.size() != frame.sealed_bytes) std::abort();
  FrameAad aad(header_);
  const std::uint64_t nonce = header_.nonce_base + index;
  if ((frame.entry & kCompressedBit) == 0) return record_.open_frame(nonce, aad.of(index, frame.entry), sealed, out);
  const PlaintextScratch::Use compressed = frame_scratch(frame.entry & ~kCompressedBit);
  VAULTFS_RETURN_IF_ERROR(record_.open_frame(nonce, aad.of(index, frame.entry), sealed, compressed.bytes()));
  return decompress_frame(compressed.bytes(), out);
}

Status open_frame(const ContainerCipher& cipher, const RecordHeader& header, const FrameTable& table,
                  std::uint32_t index, ByteView sealed, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(const FrameOpener opener, FrameOpener::create(cipher, header));
  return opener.open(table, index, sealed, out);
}

}  // namespace vaultfs
