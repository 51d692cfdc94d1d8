#include "store/segment/file/record_copies.h"

#include <array>

#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/record.h"
#include "store/record/record_scanner.h"

namespace vaultfs {

Result<std::optional<std::set<ChunkId>>> RecordCopies::lost_in(File& segment) {
  const std::optional<std::set<ChunkId>> not_known;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, segment.size());
  if (file_bytes < ContainerHeader::kEncodedBytes + SegmentTrailer::kEncodedBytes) return not_known;
  std::array<std::byte, SegmentTrailer::kEncodedBytes> trailer_bytes{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t trailer_read,
                           segment.read_at(file_bytes - trailer_bytes.size(), trailer_bytes));
  const auto trailer = SegmentTrailer::decode(ByteView(trailer_bytes).first(trailer_read));
  if (!trailer.ok() || trailer->footer_offset > file_bytes) return not_known;
  std::set<ChunkId> lost;
  std::uint64_t records = 0;
  Bytes stored;
  for (std::uint64_t at = ContainerHeader::kEncodedBytes; at < trailer->footer_offset; ++records) {
    std::array<std::byte, RecordHeader::kEncodedBytes> start{};
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, segment.read_at(at, start));
    const auto header = RecordHeader::decode(ByteView(start).first(read));
    if (!header.ok() || max_content_bytes(header->type) == 0) return not_known;
    stored.resize(static_cast<std::size_t>(header->stored_bytes()));
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t stored_read, segment.read_at(at, stored));
    const bool whole = stored_read == stored.size() && check_record(*header, stored).ok();
    if (!whole) lost.insert(header->id);
    at += stored.size();
  }
  // Of a lost footer nobody else has a copy.
  RecordScanner footer(segment, trailer->footer_offset, file_bytes - SegmentTrailer::kEncodedBytes);
  VAULTFS_ASSIGN_OR_RETURN(const auto last, footer.next());
  const bool closed = last && last->offset == trailer->footer_offset && last->header.type == RecordType::segment_footer;
  if (records != trailer->record_count || !closed) return not_known;
  return std::optional(std::move(lost));
}

Status RecordCopies::search(File& segment) {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, segment.size());
  RecordScanner scanner(segment, ContainerHeader::kEncodedBytes, file_bytes);
  while (!all_found()) {
    VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
    if (!found) break;
    if (max_content_bytes(found->header.type) > 0) missing_.erase(found->header.id);
  }
  return ok_status();
}

}  // namespace vaultfs
