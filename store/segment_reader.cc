#include "store/segment_reader.h"

#include <algorithm>
#include <utility>

#include "crypto/plaintext_memory.h"
#include "store/record.h"

namespace vaultfs {
namespace {

// Header and frame table of the largest record fit into this; so does all of a small record.
constexpr std::size_t kFirstReadBytes = 4096;

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

}  // namespace

SegmentReader::SegmentReader(std::shared_ptr<File> file, std::shared_ptr<const ContainerCipher> cipher,
                             std::string name)
    : file_(std::move(file)), cipher_(std::move(cipher)), name_(std::move(name)) {}

Result<std::shared_ptr<const SegmentReader>> SegmentReader::open(std::shared_ptr<File> file, const EpochKeys& keys,
                                                                 ContainerNumber number, std::string name) {
  const auto opened = [&]() -> Result<std::shared_ptr<const ContainerCipher>> {
    std::array<std::byte, ContainerHeader::kEncodedBytes> bytes{};
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, bytes));
    VAULTFS_ASSIGN_OR_RETURN(const auto header, ContainerHeader::decode(ByteView(bytes).first(read)));
    VAULTFS_ASSIGN_OR_RETURN(auto cipher, ContainerCipher::open(keys, header, ContainerKind::segment, number));
    return std::shared_ptr<const ContainerCipher>(std::move(cipher));
  };
  auto cipher = opened();
  if (!cipher.ok()) return with_context(std::move(cipher).error(), name);
  return std::shared_ptr<const SegmentReader>(
      std::make_shared<SegmentReader>(std::move(file), std::move(cipher).value(), std::move(name)));
}

Status SegmentReader::read(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                           MutableByteView out) const {
  if (out.empty()) return ok_status();
  Status status = read_frames(id, place, offset, out);
  if (!status.ok()) return with_context(std::move(status).error(), name_);
  return status;
}

Status SegmentReader::read_exactly(std::uint64_t offset, MutableByteView out) const {
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_->read_at(offset, out));
  if (read != out.size()) return Error{ErrorCode::DamagedRecord, "the file ends inside a record"};
  return ok_status();
}

Status SegmentReader::read_frames(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                                  MutableByteView out) const {
  const bool whole = out.size() == place.plaintext_bytes;
  const MutableByteView stored = stored_scratch(place.stored_bytes);
  std::size_t have = whole ? stored.size() : std::min(kFirstReadBytes, stored.size());
  VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset, stored.first(have)));
  VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(stored.first(have)));
  if (header.id != id || header.type != place.type) {
    return Error{ErrorCode::ChunkMismatch, "another record stands where a chunk should be"};
  }
  if (header.stored_bytes() != place.stored_bytes || header.plaintext_bytes != place.plaintext_bytes) {
    return Error{ErrorCode::DamagedRecord, "a record has other lengths than the index says"};
  }
  const std::size_t table_end = RecordHeader::kEncodedBytes + std::size_t{4} * header.frame_count;
  if (table_end > have) {
    VAULTFS_RETURN_IF_ERROR(read_exactly(place.offset + have, stored.subspan(have, table_end - have)));
    have = table_end;
  }
  VAULTFS_ASSIGN_OR_RETURN(
      const FrameTable table,
      FrameTable::decode(header, stored.subspan(RecordHeader::kEncodedBytes, table_end - RecordHeader::kEncodedBytes),
                         cipher_->overhead_bytes()));
  const std::uint32_t first = offset >> header.frame_log2;
  const auto last = static_cast<std::uint32_t>((std::uint64_t{offset} + out.size() - 1) >> header.frame_log2);
  const std::size_t needed_from = std::max<std::size_t>(have, table.frames[first].offset);
  const std::size_t needed_to = std::size_t{table.frames[last].offset} + table.frames[last].sealed_bytes;
  if (needed_to > needed_from) {
    VAULTFS_RETURN_IF_ERROR(
        read_exactly(place.offset + needed_from, stored.subspan(needed_from, needed_to - needed_from)));
  }
  for (std::uint32_t i = first; i <= last; ++i) {
    const FrameTable::Frame& frame = table.frames[i];
    const ByteView sealed = stored.subspan(frame.offset, frame.sealed_bytes);
    const std::uint64_t frame_start = std::uint64_t{i} << header.frame_log2;
    const std::uint32_t frame_bytes = header.plaintext_bytes_of(i);
    const std::uint64_t from = std::max<std::uint64_t>(offset, frame_start);
    const std::uint64_t to = std::min<std::uint64_t>(std::uint64_t{offset} + out.size(), frame_start + frame_bytes);
    const MutableByteView target = out.subspan(from - offset, to - from);
    if (target.size() == frame_bytes) {
      VAULTFS_RETURN_IF_ERROR(open_frame(*cipher_, header, table, i, sealed, target));
      continue;
    }
    const PlaintextScratch::Use edge = edge_frame_scratch(frame_bytes);
    VAULTFS_RETURN_IF_ERROR(open_frame(*cipher_, header, table, i, sealed, edge.bytes()));
    std::copy_n(edge.bytes().begin() + static_cast<std::ptrdiff_t>(from - frame_start), target.size(), target.begin());
  }
  return ok_status();
}

std::shared_ptr<const SegmentReader> SegmentReaderCache::find(ContainerNumber number) {
  const std::lock_guard lock(mutex_);
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->second;
}

void SegmentReaderCache::insert(ContainerNumber number, std::shared_ptr<const SegmentReader> reader) {
  const std::lock_guard lock(mutex_);
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
  const std::lock_guard lock(mutex_);
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) return;
  order_.erase(found->second);
  by_number_.erase(found);
}

void SegmentReaderCache::clear() {
  const std::lock_guard lock(mutex_);
  order_.clear();
  by_number_.clear();
}

}  // namespace vaultfs
