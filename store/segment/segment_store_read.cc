// Reading. What lies under a closed epoch is believed only by its id: docs/decisions/0014-closed-epochs.md.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/memory/plaintext_memory.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {
namespace {

PlaintextScratch::Use whole_record_scratch(std::size_t size) {
  thread_local PlaintextScratch scratch;
  return scratch.use(size);
}

}  // namespace

Result<std::uint32_t> SegmentStoreImpl::length(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(id));
  if (record.place.type != RecordType::patch) return record.place.plaintext_bytes;
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patch_header(id, record));
  return patch.length;
}

Result<RecordType> SegmentStoreImpl::listed_type(const ChunkId& id) {
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  return place->type;
}

Status SegmentStoreImpl::read(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_record(id));
  const bool whole =
      record.place.type != RecordType::patch && offset == 0 && out.size() == record.place.plaintext_bytes;
  if (whole && !record.proven()) {
    Status read = read_whole_record_at(id, record, out);
    if (read.ok() || !is_damage(read.code())) return read;
    auto other = pass_over(id, record.place);
    if (!other) return read;
    record = std::move(*other);
  }
  VAULTFS_RETURN_IF_ERROR(believe(id, record));
  return read_content_of(id, record, offset, out);
}

Result<std::uint32_t> SegmentStoreImpl::read_content(const ChunkId& id, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_record(id));
  const std::uint32_t stored = record.place.plaintext_bytes;
  if (!record.proven() && record.place.type != RecordType::patch && stored <= out.size()) {
    const Status read = read_whole_record_at(id, record, out.first(stored));
    if (read.ok()) return stored;
    if (!is_damage(read.code())) return read.error();
    auto other = pass_over(id, record.place);
    if (!other) return read.error();
    record = std::move(*other);
  }
  VAULTFS_RETURN_IF_ERROR(believe(id, record));
  std::uint32_t length = record.place.plaintext_bytes;
  if (record.place.type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patch_header(id, record));
    length = patch.length;
  }
  if (length > out.size()) return Error{ErrorCode::OutOfRange, "a chunk is longer than the room for it"};
  VAULTFS_RETURN_IF_ERROR(read_content_of(id, record, 0, out.first(length)));
  return length;
}

Status SegmentStoreImpl::read_content_of(const ChunkId& id, Located& record, std::uint32_t offset,
                                         MutableByteView out) {
  if (record.place.type == RecordType::patch) return read_patched(id, record, offset, out);
  if (offset > record.place.plaintext_bytes || out.size() > record.place.plaintext_bytes - offset) {
    return Error{ErrorCode::OutOfRange, "a read beyond the end of a chunk"};
  }
  return read_record(id, record, offset, out);
}

Result<std::uint32_t> SegmentStoreImpl::read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(id));
  if (record.place.type == RecordType::patch) return read_patched_piece(id, record, offset, out);
  const std::uint32_t length = record.place.plaintext_bytes;
  const MutableByteView stored = out.first(std::min<std::size_t>(out.size(), length - std::min(offset, length)));
  if (record.closed) {
    const std::uint32_t frame_bytes = record.checked->map.header.frame_bytes();
    if (!stored.empty() && std::min(frame_bytes, length) > kPieceFrameBytes) return frame_bytes;
    VAULTFS_RETURN_IF_ERROR(read_record(id, record, std::min(offset, length), stored));
  } else {
    const auto outcome = record.reader->read_piece(id, record.place, offset, stored);
    if (outcome.ok() && *outcome != 0) return outcome;
    if (!outcome.ok()) {
      note_failure(id, record.place, outcome.error());
      if (!is_damage(outcome.code())) return outcome;
      auto other = pass_over(id, record.place);
      if (!other || other->place.plaintext_bytes != length) return outcome;
      VAULTFS_RETURN_IF_ERROR(read_content_of(id, *other, offset, stored));
    }
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(stored.size()), out.end(), std::byte{0});
  return 0U;
}

Result<Bytes> SegmentStoreImpl::read_verified(RecordType type, const ChunkId& id) {
  const auto found = locate(ChunkIndex::key_of(id));
  if (!found) return missing("a chunk that is referred to");
  ChunkPlace place = *found;
  VAULTFS_ASSIGN_OR_RETURN(Bytes content, read_verified_record(id, place));
  if (place.type == RecordType::patch && type == RecordType::chunk) return read_verified_patch(id, place, content);
  if (place.type != type) return Error{ErrorCode::ChunkMismatch, "a chunk is of another type than what refers to it"};
  return content;
}

Result<SegmentStoreImpl::Located> SegmentStoreImpl::find_record(const ChunkId& id) {
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  auto record = open_record_at(id, *place);
  if (record.ok() || !is_damage(record.code())) return record;
  if (auto other = pass_over(id, *place)) return std::move(*other);
  return record;
}

Status SegmentStoreImpl::believe(const ChunkId& id, Located& record) {
  if (record.proven()) return ok_status();
  Status checked = check_record_at(id, record, 0, {});
  if (checked.ok() || !is_damage(checked.code())) return checked;
  auto other = pass_over(id, record.place);
  if (!other) return checked;
  record = std::move(*other);
  return ok_status();
}

Result<SegmentStoreImpl::Located> SegmentStoreImpl::find_proven(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_record(id));
  VAULTFS_RETURN_IF_ERROR(believe(id, record));
  return record;
}

Status SegmentStoreImpl::read_record(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
  Status read = read_record_at(id, record, offset, out);
  if (read.ok() || !is_damage(read.code())) return read;
  auto other = pass_over(id, record.place);
  if (!other || other->place.type != record.place.type ||
      other->place.plaintext_bytes != record.place.plaintext_bytes) {
    return read;
  }
  record = std::move(*other);
  return read_record_at(id, record, offset, out);
}

Result<Bytes> SegmentStoreImpl::read_verified_record(const ChunkId& id, ChunkPlace& place) {
  auto content = read_verified_at(id, place);
  if (content.ok() || !is_damage(content.code())) return content;
  const auto other = pass_over(id, place);
  if (!other) return content;
  place = other->place;
  return read_verified_at(id, place);
}

Result<SegmentStoreImpl::Located> SegmentStoreImpl::open_record_at(const ChunkId& id, const ChunkPlace& place) {
  auto reader = reader_of(place.segment);
  if (!reader.ok()) {
    note_failure(id, place, reader.error());
    return std::move(reader).error();
  }
  Located record{place, std::move(reader).value(), false, nullptr};
  record.closed = !keys_.is_current(record.reader->epoch());
  if (!record.closed) return record;
  auto known = checked_.find(id);
  if (known == nullptr || known->place.segment != place.segment || known->place.offset != place.offset) return record;
  record.place = known->place;
  record.checked = std::move(known);
  return record;
}

Status SegmentStoreImpl::read_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
  if (!record.proven()) std::abort();
  Status read = record.checked ? record.reader->read_checked(*record.checked, offset, out)
                               : record.reader->read(id, record.place, offset, out);
  if (!read.ok()) note_failure(id, record.place, read.error());
  return read;
}

Status SegmentStoreImpl::compare_id(const ChunkId& id, const ChunkPlace& place, ByteView content) {
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId computed, id_of(place.type, content));
  if (computed == id) {
    if (place.damaged) index_.mark_sound(ChunkIndex::key_of(id), place);
    return ok_status();
  }
  return Error{ErrorCode::ChunkMismatch, closed_segment_name(place.segment) + ": a chunk is not what its id says"};
}

Status SegmentStoreImpl::read_whole_record_at(const ChunkId& id, const Located& record, MutableByteView out) {
  const auto read_it = [&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(record.reader->read_record(id, record.place, out));
    return compare_id(id, record.place, out);
  };
  Status read = read_it();
  if (!read.ok()) note_failure(id, record.place, read.error());
  return read;
}

Result<Bytes> SegmentStoreImpl::read_verified_at(const ChunkId& id, const ChunkPlace& place) {
  VAULTFS_ASSIGN_OR_RETURN(const Located record, open_record_at(id, place));
  Bytes content(place.plaintext_bytes);
  VAULTFS_RETURN_IF_ERROR(read_whole_record_at(id, {place, record.reader, record.closed, nullptr}, content));
  return content;
}

Status SegmentStoreImpl::check_record_at(const ChunkId& id, Located& record, std::uint32_t offset,
                                         MutableByteView out) {
  // What is compared is what is handed out, and what later reads are compared with: the file is looked at once.
  const PlaintextScratch::Use content = whole_record_scratch(record.place.plaintext_bytes);
  const auto check = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(SegmentReader::Whole whole, record.reader->read_record(id, record.place, content.bytes()));
    VAULTFS_RETURN_IF_ERROR(compare_id(id, record.place, content.bytes()));
    VAULTFS_ASSIGN_OR_RETURN(record.checked, checked_.keep(id, record.place, std::move(whole.map), whole.stored));
    return ok_status();
  };
  Status checked = check();
  if (!checked.ok()) {
    note_failure(id, record.place, checked.error());
    return checked;
  }
  std::ranges::copy(content.bytes().subspan(offset, out.size()), out.begin());
  return ok_status();
}

Result<std::shared_ptr<const SegmentReader>> SegmentStoreImpl::reader_of(ContainerNumber number) {
  if (auto reader = readers_.find(number)) return reader;
  VAULTFS_ASSIGN_OR_RETURN(auto reader, open_reader(number));
  readers_.insert(number, reader);
  return reader;
}

Result<std::shared_ptr<const SegmentReader>> SegmentStoreImpl::open_reader(ContainerNumber number) {
  Segment segment;
  {
    const MutexLock lock(mutex_);
    const auto found = segments_.find(number);
    if (found == segments_.end()) return Error{ErrorCode::SegmentMissing, "a chunk lies in a segment that is gone"};
    segment = found->second;
  }
  if (segment.writer) {
    VAULTFS_ASSIGN_OR_RETURN(auto cipher, segment.writer->cipher());
    return std::shared_ptr<const SegmentReader>(std::make_shared<SegmentReader>(
        SegmentReader::Source{segment.writer->file(), number, open_segment_name(number), maps_}, std::move(cipher),
        segment.writer->epoch()));
  }
  // A segment that was found open may have got its final name since, by its owner.
  const std::string closed_name = closed_segment_name(number);
  const std::string open_name = open_segment_name(number);
  auto file = segment.closed ? blobs_.open(closed_name) : env_.open(root_ / open_name, OpenMode::read_only);
  if (!file.ok() && file.code() == ErrorCode::NotFound && !segment.closed) file = blobs_.open(closed_name);
  if (!file.ok()) {
    if (file.code() != ErrorCode::NotFound) return std::move(file).error();
    return Error{ErrorCode::SegmentMissing, closed_name + " is gone"};
  }
  return SegmentReader::open({std::move(file).value(), number, segment.closed ? closed_name : open_name, maps_}, keys_);
}

}  // namespace vaultfs
