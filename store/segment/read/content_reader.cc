#include "store/segment/read/content_reader.h"

#include <algorithm>
#include <utility>

#include "store/segment/file/segment_reader.h"

namespace vaultfs {

Status ContentReader::read(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_record(id));
  const bool whole =
      record.place.type != RecordType::patch && offset == 0 && out.size() == record.place.plaintext_bytes;
  if (whole && !record.proven()) {
    Status read = records_.read_whole_record_at(id, record, out);
    if (read.ok() || !is_damage(read.code())) return read;
    auto other = records_.pass_over(id, record.place);
    if (!other) return read;
    record = std::move(*other);
  }
  VAULTFS_RETURN_IF_ERROR(records_.believe(id, record));
  return read_content_of(id, record, offset, out);
}

Result<std::uint32_t> ContentReader::read_content(const ChunkId& id, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_record(id));
  const std::uint32_t stored = record.place.plaintext_bytes;
  if (!record.proven() && record.place.type != RecordType::patch && stored <= out.size()) {
    const Status read = records_.read_whole_record_at(id, record, out.first(stored));
    if (read.ok()) return stored;
    if (!is_damage(read.code())) return read.error();
    auto other = records_.pass_over(id, record.place);
    if (!other) return read.error();
    record = std::move(*other);
  }
  VAULTFS_RETURN_IF_ERROR(records_.believe(id, record));
  std::uint32_t length = record.place.plaintext_bytes;
  if (record.place.type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patches_.patch_header(id, record));
    length = patch.length;
  }
  if (length > out.size()) return Error{ErrorCode::OutOfRange, "a chunk is longer than the room for it"};
  VAULTFS_RETURN_IF_ERROR(read_content_of(id, record, 0, out.first(length)));
  return length;
}

Status ContentReader::read_content_of(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
  if (record.place.type == RecordType::patch) return patches_.read_patched(id, record, offset, out);
  if (offset > record.place.plaintext_bytes || out.size() > record.place.plaintext_bytes - offset) {
    return Error{ErrorCode::OutOfRange, "a read beyond the end of a chunk"};
  }
  return records_.read_record(id, record, offset, out);
}

Result<std::uint32_t> ContentReader::read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_proven(id));
  if (record.place.type == RecordType::patch) return patches_.read_patched_piece(id, record, offset, out);
  const std::uint32_t length = record.place.plaintext_bytes;
  const MutableByteView stored = out.first(std::min<std::size_t>(out.size(), length - std::min(offset, length)));
  if (record.closed) {
    const std::uint32_t frame_bytes = record.checked->map.header.frame_bytes();
    if (!stored.empty() && std::min(frame_bytes, length) > kPieceFrameBytes) return frame_bytes;
    VAULTFS_RETURN_IF_ERROR(records_.read_record(id, record, std::min(offset, length), stored));
  } else {
    const auto outcome = record.reader->read_piece(id, record.place, offset, stored);
    if (outcome.ok() && *outcome != 0) return outcome;
    if (!outcome.ok()) {
      damage_.note_failure(id, record.place, outcome.error());
      if (!is_damage(outcome.code())) return outcome;
      auto other = records_.pass_over(id, record.place);
      if (!other || other->place.plaintext_bytes != length) return outcome;
      VAULTFS_RETURN_IF_ERROR(read_content_of(id, *other, offset, stored));
    }
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(stored.size()), out.end(), std::byte{0});
  return 0U;
}

Result<Bytes> ContentReader::read_verified(RecordType type, const ChunkId& id) {
  const auto found = unread_.locate(ChunkIndex::key_of(id));
  if (!found) return unread_.missing("a chunk that is referred to");
  ChunkPlace place = *found;
  VAULTFS_ASSIGN_OR_RETURN(Bytes content, records_.read_verified_record(id, place));
  if (place.type == RecordType::patch && type == RecordType::chunk)
    return patches_.read_verified_patch(id, place, content);
  if (place.type != type) return Error{ErrorCode::ChunkMismatch, "a chunk is of another type than what refers to it"};
  return content;
}

Result<std::uint32_t> ContentReader::length(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_proven(id));
  if (record.place.type != RecordType::patch) return record.place.plaintext_bytes;
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patches_.patch_header(id, record));
  return patch.length;
}

Result<RecordType> ContentReader::listed_type(const ChunkId& id) {
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  return place->type;
}

Result<ContainerNumber> ContentReader::segment_of(const ChunkId& id) {
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  return place->segment;
}

Result<std::optional<PatchHeader>> ContentReader::patch_of(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_proven(id));
  if (record.place.type != RecordType::patch) return std::optional<PatchHeader>();
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader header, patches_.patch_header(id, record));
  return std::optional<PatchHeader>(header);
}

Result<std::optional<ContainerNumber>> ContentReader::base_segment_of(const ChunkId& id) {
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  if (place->type != RecordType::patch) return std::optional<ContainerNumber>();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkIndex::Key> base, patches_.base_of(id, *place));
  if (!base) return std::optional<ContainerNumber>();
  const auto below = unread_.locate(*base);
  if (!below) return unread_.missing("the chunk that a patch lies over");
  return std::optional(below->segment);
}

Result<std::optional<ChunkIndex::Key>> ContentReader::base_key_of(const ChunkId& id) {
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  if (place->type != RecordType::patch) return std::optional<ChunkIndex::Key>();
  return patches_.base_of(id, *place);
}

}  // namespace vaultfs
