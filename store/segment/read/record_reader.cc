#include "store/segment/read/record_reader.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "crypto/memory/plaintext_memory.h"
#include "store/index/segment_format.h"

namespace vaultfs {
namespace {

PlaintextScratch::Use whole_record_scratch(std::size_t size) {
  thread_local PlaintextScratch scratch;
  return scratch.use(size);
}

}  // namespace

Result<RecordReader::Located> RecordReader::find_record(const ChunkId& id) {
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  auto record = open_record_at(id, *place);
  if (record.ok() || !is_damage(record.code())) return record;
  if (auto other = pass_over(id, *place)) return std::move(*other);
  return record;
}

Status RecordReader::believe(const ChunkId& id, Located& record) {
  if (record.proven()) return ok_status();
  Status checked = check_record_at(id, record, 0, {});
  if (checked.ok() || !is_damage(checked.code())) return checked;
  auto other = pass_over(id, record.place);
  if (!other) return checked;
  record = std::move(*other);
  return ok_status();
}

Result<RecordReader::Located> RecordReader::find_proven(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_record(id));
  VAULTFS_RETURN_IF_ERROR(believe(id, record));
  return record;
}

Status RecordReader::read_record(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
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

Result<Bytes> RecordReader::read_verified_record(const ChunkId& id, ChunkPlace& place) {
  auto content = read_verified_at(id, place);
  if (content.ok() || !is_damage(content.code())) return content;
  const auto other = pass_over(id, place);
  if (!other) return content;
  place = other->place;
  return read_verified_at(id, place);
}

Result<bool> RecordReader::probe(const ChunkIndex::Key& key) {
  const auto place = unread_.locate(key);
  if (!place && unread_.any()) return unread_.missing("a chunk that is referred to");
  if (!place) return false;
  ChunkPlace read_at = *place;
  const auto read_whole = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, files_.id_at(key, *place));
    const auto content = read_verified_record(id, read_at);
    return content.ok() ? ok_status() : Status(content.error());
  };
  const Status read = read_whole();
  if (read.ok()) return true;
  if (!damage_.says_damage(*place, read.code())) return read.error();
  damage_.tell_damaged(key, *place);
  return false;
}

std::optional<RecordReader::Located> RecordReader::pass_over(const ChunkId& id, const ChunkPlace& failed) {
  for (const ChunkPlace& place : others_.other_places(id)) {
    if (is_same_record(place, failed)) continue;
    auto record = open_record_at(id, place);
    if (!record.ok()) continue;
    const Status good = record->closed ? check_record_at(id, *record, 0, {}) : [&]() -> Status {
      Bytes content(place.plaintext_bytes);
      return read_whole_record_at(id, *record, content);
    }();
    if (!good.ok()) continue;
    prefer_copy(id, failed, record->place);
    return std::move(record).value();
  }
  return std::nullopt;
}

void RecordReader::prefer_copy(const ChunkId& id, const ChunkPlace& failed, const ChunkPlace& found) {
  // Not where compaction may have looked already.
  table_.unless_leaving(found.segment, [&] {
    const auto indexed = index_.find(id);
    if (indexed && is_same_record(*indexed, failed)) index_.insert(id, found);
  });
}

Result<RecordReader::Located> RecordReader::open_record_at(const ChunkId& id, const ChunkPlace& place) {
  auto reader = files_.reader_of(place.segment);
  if (!reader.ok()) {
    damage_.note_failure(id, place, reader.error());
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

Status RecordReader::read_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
  if (!record.proven()) std::abort();
  Status read = record.checked ? record.reader->read_checked(*record.checked, offset, out)
                               : record.reader->read(id, record.place, offset, out);
  if (!read.ok()) damage_.note_failure(id, record.place, read.error());
  return read;
}

Status RecordReader::compare_id(const ChunkId& id, const ChunkPlace& place, ByteView content) {
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId computed, id_of(keys_, place.type, content));
  if (computed == id) {
    if (place.damaged) index_.mark_sound(ChunkIndex::key_of(id), place);
    return ok_status();
  }
  return Error{ErrorCode::ChunkMismatch, closed_segment_name(place.segment) + ": a chunk is not what its id says"};
}

Status RecordReader::read_whole_record_at(const ChunkId& id, const Located& record, MutableByteView out) {
  const auto read_it = [&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(record.reader->read_record(id, record.place, out));
    return compare_id(id, record.place, out);
  };
  Status read = read_it();
  if (!read.ok()) damage_.note_failure(id, record.place, read.error());
  return read;
}

Result<Bytes> RecordReader::read_verified_at(const ChunkId& id, const ChunkPlace& place) {
  VAULTFS_ASSIGN_OR_RETURN(const Located record, open_record_at(id, place));
  Bytes content(place.plaintext_bytes);
  VAULTFS_RETURN_IF_ERROR(read_whole_record_at(id, {place, record.reader, record.closed, nullptr}, content));
  return content;
}

Status RecordReader::check_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
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
    damage_.note_failure(id, record.place, checked.error());
    return checked;
  }
  std::ranges::copy(content.bytes().subspan(offset, out.size()), out.begin());
  return ok_status();
}

}  // namespace vaultfs
