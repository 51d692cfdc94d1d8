#include "store/index/segment_format.h"

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "store/blobs/blob_store.h"
#include "store/index/patch.h"
#include "store/record/checksum.h"
#include "store/record/container.h"

namespace vaultfs {
namespace {

constexpr std::string_view kTrailerMagic = "VSEGEND1";

Error damaged_segment(const char* what) { return Error{ErrorCode::DamagedSegment, what}; }

}  // namespace

Error overlong_segment(std::uint64_t file_bytes) {
  return {ErrorCode::DamagedSegment, "the file has " + std::to_string(file_bytes) +
                                         " bytes, and no segment has more than " +
                                         std::to_string(kMaxSegmentFileBytes) + ": what lies behind was not read"};
}

std::string closed_segment_name(ContainerNumber number) { return "segments/" + numbered_name(number.value, "seg"); }

std::string open_segment_name(ContainerNumber number) { return "segments/" + numbered_name(number.value, "open"); }

std::uint32_t max_content_bytes(RecordType type) noexcept {
  if (type == RecordType::chunk) return kMaxChunkBytes;
  if (type == RecordType::map_page) return kMaxRecordBytes;
  if (type == RecordType::patch) return kMaxPatchBytes;
  return 0;
}

Bytes encode_segment_footer(const std::vector<SegmentEntry>& entries) {
  ByteWriter writer;
  writer.u32(static_cast<std::uint32_t>(entries.size()));
  for (const SegmentEntry& entry : entries) {
    writer.id(entry.id);
    writer.u8(static_cast<std::uint8_t>(entry.type));
    writer.u64(entry.offset);
    writer.u32(entry.stored_bytes);
    writer.u32(entry.plaintext_bytes);
  }
  return std::move(writer).take();
}

Result<std::vector<SegmentEntry>> decode_segment_footer(ByteView plaintext, std::uint64_t footer_offset) {
  ByteReader reader(plaintext);
  const std::uint32_t count = reader.count(SegmentEntry::kEncodedBytes);
  std::vector<SegmentEntry> entries;
  entries.reserve(count);
  std::uint64_t free_from = ContainerHeader::kEncodedBytes;
  for (std::uint32_t i = 0; i < count; ++i) {
    SegmentEntry entry;
    entry.id = reader.id<ChunkId>();
    entry.type = static_cast<RecordType>(reader.u8());
    entry.offset = reader.u64();
    entry.stored_bytes = reader.u32();
    entry.plaintext_bytes = reader.u32();
    const bool placed = entry.offset >= free_from && entry.offset % 8 == 0 && entry.offset <= footer_offset &&
                        entry.stored_bytes <= footer_offset - entry.offset;
    const bool sized = entry.stored_bytes > RecordHeader::kEncodedBytes && entry.stored_bytes % 8 == 0 &&
                       entry.plaintext_bytes > 0 && entry.plaintext_bytes <= max_content_bytes(entry.type) &&
                       entry.stored_bytes <= max_stored_bytes(entry.plaintext_bytes, kMinFrameLog2, 2 * kAeadTagBytes);
    if (!placed || !sized) return damaged_segment("an entry of the segment's footer can't be right");
    free_from = entry.offset + entry.stored_bytes;
    entries.push_back(entry);
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedSegment, "segment footer"));
  return entries;
}

Bytes SegmentTrailer::encode() const {
  ByteWriter writer;
  writer.raw(bytes_of(kTrailerMagic));
  writer.u64(footer_offset);
  writer.u64(record_count);
  writer.u64(checksum64(writer.view()));
  return std::move(writer).take();
}

Result<SegmentTrailer> SegmentTrailer::decode(ByteView bytes) {
  ByteReader reader(bytes);
  const bool magic = bytes_equal(reader.raw(kTrailerMagic.size()), bytes_of(kTrailerMagic));
  SegmentTrailer trailer;
  trailer.footer_offset = reader.u64();
  trailer.record_count = reader.u64();
  const std::uint64_t checksum = reader.u64();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedSegment, "segment trailer"));
  if (!magic || checksum != checksum64(bytes.first(kEncodedBytes - 8))) {
    return damaged_segment("the segment has no valid trailer");
  }
  return trailer;
}

}  // namespace vaultfs
