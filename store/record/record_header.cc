#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "store/record/checksum.h"
#include "store/record/record.h"

namespace vaultfs {
namespace {

constexpr std::size_t kRecordChecksumOffset = 80;
constexpr std::uint8_t kClearFlag = 1;

Error damaged_header(const char* what) { return Error{ErrorCode::DamagedRecord, what}; }

bool is_known(std::uint8_t type) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::chunk:
    case RecordType::map_page:
    case RecordType::segment_footer:
    case RecordType::patch:
    case RecordType::journal_entries:
    case RecordType::journal_end:
    case RecordType::stream_part:
    case RecordType::stream_end:
    case RecordType::clear_inventory:
    case RecordType::activity_entry:
      return true;
  }
  return false;
}

bool has_id(RecordType type) {
  return type == RecordType::chunk || type == RecordType::map_page || type == RecordType::patch;
}

bool is_journal(RecordType type) { return type == RecordType::journal_entries || type == RecordType::journal_end; }

bool has_sequence(RecordType type) {
  return is_journal(type) || type == RecordType::stream_part || type == RecordType::stream_end ||
         type == RecordType::activity_entry;
}

RecordSalt salt_of(ByteReader& reader) {
  RecordSalt salt{};
  const ByteView bytes = reader.raw(salt.size());
  std::copy(bytes.begin(), bytes.end(), salt.begin());
  return salt;
}

bool lengths_fit(const RecordHeader& header) {
  if (header.plaintext_bytes == 0 || header.plaintext_bytes > kMaxRecordBytes) return false;
  if (header.clear)
    return header.nonce_base == 0 && header.frame_count == 0 && header.payload_bytes == header.plaintext_bytes;
  if (header.frame_count != frame_count_of(header.plaintext_bytes, header.frame_log2)) return false;
  if (header.nonce_base > std::numeric_limits<std::uint64_t>::max() - header.frame_count) return false;
  // One u32 a frame, at least one byte of content and one tag, at most the plaintext and two tags.
  const std::uint64_t table = 4ULL * header.frame_count;
  const std::uint64_t least = table + header.frame_count * (1 + std::uint64_t{kAeadTagBytes});
  const std::uint64_t most = table + header.plaintext_bytes + header.frame_count * 2 * std::uint64_t{kAeadTagBytes};
  return header.payload_bytes >= least && header.payload_bytes <= most;
}

}  // namespace

std::uint32_t RecordHeader::plaintext_bytes_of(std::uint32_t index) const noexcept {
  const std::uint64_t start = std::uint64_t{index} << frame_log2;
  if (start >= plaintext_bytes) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(frame_bytes(), plaintext_bytes - start));
}

std::uint64_t RecordHeader::stored_bytes() const noexcept {
  const std::uint64_t unpadded = kEncodedBytes + std::uint64_t{payload_bytes} + kChecksum128Bytes;
  return (unpadded + 7) & ~std::uint64_t{7};
}

void RecordHeader::encode(MutableByteView out) const {
  if (out.size() != kEncodedBytes) std::abort();
  std::size_t at = 0;
  const auto integer = [&](std::uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) out[at++] = static_cast<std::byte>((value >> (8U * i)) & 0xffU);
  };
  const auto raw = [&](ByteView bytes) {
    for (const std::byte b : bytes) out[at++] = b;
  };
  raw(bytes_of(kRecordMagic));
  integer(static_cast<std::uint8_t>(type), 1);
  integer(clear ? kClearFlag : 0, 1);
  integer(frame_log2, 1);
  integer(0, 1);
  integer(nonce_base, 8);
  if (has_id(type)) {
    raw(salt);
    raw(id.view());
  } else {
    integer(sequence, 8);
    integer(synced_lsn, 8);
    raw(salt);
    integer(0, 8);
    integer(0, 8);
  }
  integer(plaintext_bytes, 4);
  integer(frame_count, 4);
  integer(payload_bytes, 4);
  integer(0, 4);
  integer(checksum64(ByteView(out).first(kRecordChecksumOffset)), 8);
}

Result<RecordHeader> RecordHeader::decode(ByteView bytes) {
  if (bytes.size() < kEncodedBytes) return damaged_header("a record header is cut off");
  bytes = bytes.first(kEncodedBytes);
  ByteReader reader(bytes);
  if (!bytes_equal(reader.raw(kRecordMagic.size()), bytes_of(kRecordMagic)))
    return damaged_header("no record header where one should be");
  RecordHeader header;
  const std::uint8_t type = reader.u8();
  const std::uint8_t flags = reader.u8();
  header.type = static_cast<RecordType>(type);
  header.clear = flags == kClearFlag;
  header.frame_log2 = reader.u8();
  const std::uint8_t zero = reader.u8();
  header.nonce_base = reader.u64();
  // A salt is looked at by who opens the record: only he knows the container's version.
  bool zeros_fit = true;
  if (has_id(header.type)) {
    header.salt = salt_of(reader);
    header.id = reader.id<ChunkId>();
  } else {
    header.sequence = reader.u64();
    header.synced_lsn = reader.u64();
    header.salt = salt_of(reader);
    zeros_fit =
        is_all_zero(reader.raw(ChunkId::kSize - header.salt.size())) && (!header.clear || is_all_zero(header.salt));
  }
  header.plaintext_bytes = reader.u32();
  header.frame_count = reader.u32();
  header.payload_bytes = reader.u32();
  const std::uint32_t zero_at_end = reader.u32();
  if (reader.u64() != checksum64(bytes.first(kRecordChecksumOffset))) {
    return damaged_header("a record header's checksum does not match");
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedRecord, "record header"));
  // Only the inventory may be clear: a clear record of another type would be content that nobody authenticated.
  const bool form =
      is_known(type) && flags <= kClearFlag && header.clear == (header.type == RecordType::clear_inventory) &&
      header.frame_log2 >= kMinFrameLog2 && header.frame_log2 <= kMaxFrameLog2 && zero == 0 && zero_at_end == 0;
  const bool roles = zeros_fit && (has_sequence(header.type) || header.sequence == 0) &&
                     (is_journal(header.type) || header.synced_lsn == 0);
  if (!form || !roles || !lengths_fit(header)) {
    return damaged_header("a field of a record header has a value that it can't have");
  }
  return header;
}

std::uint32_t frame_count_of(std::size_t plaintext_bytes, std::uint8_t frame_log2) noexcept {
  const std::uint64_t frame = std::uint64_t{1} << frame_log2;
  return static_cast<std::uint32_t>((plaintext_bytes + frame - 1) / frame);
}

std::size_t max_stored_bytes(std::size_t plaintext_bytes, std::uint8_t frame_log2,
                             std::size_t overhead_bytes) noexcept {
  const std::size_t frames = frame_count_of(plaintext_bytes, frame_log2);
  const std::size_t unpadded =
      RecordHeader::kEncodedBytes + frames * (4 + overhead_bytes) + plaintext_bytes + kChecksum128Bytes;
  return (unpadded + 7) & ~std::size_t{7};
}

}  // namespace vaultfs
