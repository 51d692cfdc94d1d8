#include "store/segment/file/segment_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/memory/plaintext_memory.h"
#include "store/record/record.h"

namespace vaultfs {
namespace {

// Header and frame table of the largest chunk fit into this.
constexpr std::size_t kMapReadBytes = 4096;

// Stored bytes on their way to the cipher. Ciphertext only.
MutableByteView stored_scratch(std::size_t size) {
  thread_local Bytes scratch;
  if (scratch.size() < size) scratch.resize(size);
  return MutableByteView(scratch).first(size);
}

PlaintextScratch::Use edge_frame_scratch(std::size_t size) {
  thread_local PlaintextScratch scratch;
  return scratch.use(size);
}

bool is_of(const RecordMap& map, const ChunkId& id, const ChunkPlace& place) {
  const RecordHeader& header = map.header;
  return header.id == id && header.type == place.type && header.stored_bytes() == place.stored_bytes &&
         header.plaintext_bytes == place.plaintext_bytes;
}

}  // namespace

SegmentReader::SegmentReader(Source source, std::shared_ptr<const ContainerCipher> cipher, EpochNumber epoch)
    : source_(std::move(source)), cipher_(std::move(cipher)), epoch_(epoch) {}

Result<std::shared_ptr<const SegmentReader>> SegmentReader::open(Source source, const EpochKeys& keys) {
  EpochNumber epoch;
  const auto opened = [&]() -> Result<std::shared_ptr<const ContainerCipher>> {
    std::array<std::byte, ContainerHeader::kEncodedBytes> bytes{};
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, source.file->read_at(0, bytes));
    VAULTFS_ASSIGN_OR_RETURN(const auto header, ContainerHeader::decode(ByteView(bytes).first(read)));
    epoch = header.epoch;
    VAULTFS_ASSIGN_OR_RETURN(auto cipher, ContainerCipher::open(keys, header, ContainerKind::segment, source.number));
    return std::shared_ptr<const ContainerCipher>(std::move(cipher));
  };
  auto cipher = opened();
  if (!cipher.ok()) return with_context(std::move(cipher).error(), source.name);
  return std::shared_ptr<const SegmentReader>(
      std::make_shared<SegmentReader>(std::move(source), std::move(cipher).value(), epoch));
}

Status SegmentReader::read(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                           MutableByteView out) const {
  if (out.empty()) return ok_status();
  const auto read_it = [&]() -> Status {
    if (out.size() == place.plaintext_bytes) {
      VAULTFS_RETURN_IF_ERROR(open_whole(id, place, out));
      return ok_status();
    }
    VAULTFS_ASSIGN_OR_RETURN(const auto map, map_of(id, place));
    return read_part(*map, place, offset, out);
  };
  Status status = read_it();
  if (!status.ok()) return with_context(std::move(status).error(), source_.name);
  return status;
}

Result<std::uint32_t> SegmentReader::read_piece(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                                                MutableByteView out) const {
  if (out.empty()) return 0U;
  const auto read_it = [&]() -> Result<std::uint32_t> {
    if (out.size() == place.plaintext_bytes) {
      VAULTFS_RETURN_IF_ERROR(open_whole(id, place, out));
      return 0U;
    }
    VAULTFS_ASSIGN_OR_RETURN(const auto map, map_of(id, place));
    if (std::min(map->header.frame_bytes(), place.plaintext_bytes) > kPieceFrameBytes) return map->header.frame_bytes();
    VAULTFS_RETURN_IF_ERROR(read_part(*map, place, offset, out));
    return 0U;
  };
  auto outcome = read_it();
  if (!outcome.ok()) return with_context(std::move(outcome).error(), source_.name);
  return outcome;
}

Result<std::uint32_t> SegmentReader::frame_bytes(const ChunkId& id, const ChunkPlace& place) const {
  const auto map = map_of(id, place);
  if (!map.ok()) return with_context(map.error(), source_.name);
  return (*map)->header.frame_bytes();
}

Status SegmentReader::check_header(const ChunkId& id, const ChunkPlace& place) const {
  RecordMap map;
  std::array<std::byte, RecordHeader::kEncodedBytes> bytes{};
  VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset, bytes));
  VAULTFS_ASSIGN_OR_RETURN(map.header, RecordHeader::decode(bytes));
  if (is_of(map, id, place)) return ok_status();
  return Error{ErrorCode::ChunkMismatch, source_.name + ": another record stands where a chunk should be"};
}

Result<SegmentReader::Whole> SegmentReader::read_record(const ChunkId& id, const ChunkPlace& place,
                                                        MutableByteView plaintext) const {
  auto whole = open_whole(id, place, plaintext);
  if (!whole.ok()) return with_context(std::move(whole).error(), source_.name);
  return whole;
}

Status SegmentReader::read_checked(const CheckedRecord& record, std::uint32_t offset, MutableByteView out) const {
  if (out.empty()) return ok_status();
  Status status = read_part(record.map, record.place, offset, out, &record);
  if (!status.ok()) return with_context(std::move(status).error(), source_.name);
  return status;
}

Status SegmentReader::read_exactly(std::uint64_t offset, MutableByteView out) const {
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, source_.file->read_at(offset, out));
  if (read != out.size()) return Error{ErrorCode::DamagedRecord, "the file ends inside a record"};
  return ok_status();
}

Result<RecordMap> SegmentReader::decode_map(const ChunkId& id, const ChunkPlace& place, ByteView start) const {
  RecordMap map;
  VAULTFS_ASSIGN_OR_RETURN(map.header, RecordHeader::decode(start));
  if (map.header.id != id || map.header.type != place.type) {
    return Error{ErrorCode::ChunkMismatch, "another record stands where a chunk should be"};
  }
  if (!is_of(map, id, place)) {
    return Error{ErrorCode::DamagedRecord, "a record has other lengths than the index says"};
  }
  const std::size_t table_bytes = std::size_t{4} * map.header.frame_count;
  if (start.size() < RecordHeader::kEncodedBytes + table_bytes) {
    return Error{ErrorCode::DamagedRecord, "a record has more frames than its kind can have"};
  }
  VAULTFS_ASSIGN_OR_RETURN(map.table,
                           FrameTable::decode(map.header, start.subspan(RecordHeader::kEncodedBytes, table_bytes),
                                              cipher_->overhead_bytes()));
  return map;
}

Result<std::shared_ptr<const RecordMap>> SegmentReader::map_of(const ChunkId& id, const ChunkPlace& place) const {
  auto known = source_.maps.find(source_.number, place.offset);
  if (known != nullptr && is_of(*known, id, place)) return known;
  // Map pages have up to 16 MiB, so that their tables may be longer.
  const MutableByteView start = stored_scratch(std::min<std::size_t>(
      std::max(kMapReadBytes, RecordHeader::kEncodedBytes + place.plaintext_bytes / 1024), place.stored_bytes));
  VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset, start));
  VAULTFS_ASSIGN_OR_RETURN(RecordMap map, decode_map(id, place, start));
  auto fresh = std::make_shared<const RecordMap>(std::move(map));
  source_.maps.insert(source_.number, place.offset, fresh);
  return std::shared_ptr<const RecordMap>(std::move(fresh));
}

Result<SegmentReader::Whole> SegmentReader::open_whole(const ChunkId& id, const ChunkPlace& place,
                                                       MutableByteView out) const {
  const MutableByteView stored = stored_scratch(place.stored_bytes);
  VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset, stored));
  VAULTFS_ASSIGN_OR_RETURN(RecordMap map, decode_map(id, place, stored));
  VAULTFS_RETURN_IF_ERROR(open_frames(map, stored, 0, 0, out));
  return Whole{std::move(map), stored};
}

Status SegmentReader::read_part(const RecordMap& map, const ChunkPlace& place, std::uint32_t offset,
                                MutableByteView out, const CheckedRecord* checked) const {
  const std::uint64_t end = std::uint64_t{offset} + out.size();
  const std::uint32_t first_frame = offset >> map.header.frame_log2;
  const auto last_frame = static_cast<std::uint32_t>((end - 1) >> map.header.frame_log2);
  const FrameTable::Frame& first = map.table.frames[first_frame];
  const FrameTable::Frame& last = map.table.frames[last_frame];
  const MutableByteView stored = stored_scratch(last.offset + last.sealed_bytes - first.offset);
  VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset + first.offset, stored));
  for (std::uint32_t i = first_frame; checked != nullptr && i <= last_frame; ++i) {
    const FrameTable::Frame& frame = map.table.frames[i];
    VAULTFS_RETURN_IF_ERROR(checked->compare(i, stored.subspan(frame.offset - first.offset, frame.sealed_bytes)));
  }
  return open_frames(map, stored, first.offset, offset, out);
}

Status SegmentReader::open_frames(const RecordMap& map, ByteView stored, std::size_t stored_from, std::uint32_t offset,
                                  MutableByteView out) const {
  const RecordHeader& header = map.header;
  const std::uint32_t first = offset >> header.frame_log2;
  const auto last = static_cast<std::uint32_t>((std::uint64_t{offset} + out.size() - 1) >> header.frame_log2);
  VAULTFS_ASSIGN_OR_RETURN(const FrameOpener opener, FrameOpener::create(*cipher_, header));
  for (std::uint32_t i = first; i <= last; ++i) {
    const FrameTable::Frame& frame = map.table.frames[i];
    const ByteView sealed = stored.subspan(frame.offset - stored_from, frame.sealed_bytes);
    const std::uint64_t frame_start = std::uint64_t{i} << header.frame_log2;
    const std::uint32_t frame_bytes = header.plaintext_bytes_of(i);
    const std::uint64_t from = std::max<std::uint64_t>(offset, frame_start);
    const std::uint64_t to = std::min<std::uint64_t>(std::uint64_t{offset} + out.size(), frame_start + frame_bytes);
    const MutableByteView target = out.subspan(from - offset, to - from);
    if (target.size() == frame_bytes) {
      VAULTFS_RETURN_IF_ERROR(opener.open(map.table, i, sealed, target));
      continue;
    }
    const PlaintextScratch::Use edge = edge_frame_scratch(frame_bytes);
    VAULTFS_RETURN_IF_ERROR(opener.open(map.table, i, sealed, edge.bytes()));
    std::copy_n(edge.bytes().begin() + static_cast<std::ptrdiff_t>(from - frame_start), target.size(), target.begin());
  }
  return ok_status();
}

std::shared_ptr<const SegmentReader> SegmentReaderCache::find(ContainerNumber number) {
  const MutexLock lock(mutex_);
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->second;
}

void SegmentReaderCache::insert(ContainerNumber number, std::shared_ptr<const SegmentReader> reader) {
  const MutexLock lock(mutex_);
  if (const auto found = by_number_.find(number); found != by_number_.end()) {
    found->second->second = std::move(reader);
    return;
  }
  order_.emplace_front(number, std::move(reader));
  by_number_[number] = order_.begin();
  if (order_.size() > capacity_) {
    by_number_.erase(order_.back().first);
    order_.pop_back();
  }
}

void SegmentReaderCache::erase(ContainerNumber number) {
  const MutexLock lock(mutex_);
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) return;
  order_.erase(found->second);
  by_number_.erase(found);
}

void SegmentReaderCache::clear() {
  const MutexLock lock(mutex_);
  order_.clear();
  by_number_.clear();
}

}  // namespace vaultfs
