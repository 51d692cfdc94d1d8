// Reading: slots first, then the chunk below.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {
namespace {

// Files below this are read as they come.
constexpr std::uint64_t kReadAheadFileBytes = 4ULL * kChunkBytes;
// A reader is sequential after that much in a row, and at least two reads; several requests of one may arrive out of
// order. Random reads of a few KiB hit each other's neighbourhood sometimes, but not that often.
constexpr std::uint64_t kSequentialBytes = 128ULL * 1024;
constexpr std::uint32_t kSequentialRun = 2;
constexpr std::uint64_t kReorderBytes = 2ULL * kChunkBytes;
constexpr std::uint64_t kReorderedReads = 32;
constexpr std::uint64_t kMaxAheadChunks = 8;

Error behind_end() { return {ErrorCode::OutOfRange, "nothing more follows in the file"}; }

ByteRanges slots_of(const DiskImage& image, std::uint64_t index) {
  ByteRanges ranges;
  const auto chunk = image.dirty.find(index);
  if (chunk == image.dirty.end()) return ranges;
  for (const auto& job : chunk->second.storing) {
    for (const ByteRanges::Range& range : job->slot->dirty().ranges()) ranges.add(range.begin, range.end);
  }
  if (chunk->second.active == nullptr) return ranges;
  for (const ByteRanges::Range& range : chunk->second.active->dirty().ranges()) ranges.add(range.begin, range.end);
  return ranges;
}

}  // namespace

Result<TreeEngine::Piece> TreeEngine::read_slots(const InodePointer& inode, std::uint64_t offset, MutableByteView out) {
  const std::uint64_t index = offset / kChunkBytes;
  const auto begin = static_cast<std::uint32_t>(offset % kChunkBytes);
  for (;;) {
    {
      const ReaderLock lock(inode->mutex);
      VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
      Piece piece;
      if (offset >= inode->size) return piece;
      piece.length =
          static_cast<std::uint32_t>(std::min<std::uint64_t>({out.size(), kChunkBytes - begin, inode->size - offset}));
      if (inode->content == nullptr) return piece;
      const DiskImage& image = *inode->content;
      if (!image.extents.page_to_load(index).has_value()) {
        piece.base = image.extents.get(index);
        const auto chunk = image.dirty.find(index);
        if (chunk == image.dirty.end()) return piece;
        const std::uint32_t end = begin + piece.length;
        const auto take = [&](const Slot& slot) {
          slot.copy_to(begin, end, out.data());
          for (const ByteRanges::Range& range : slot.dirty().inside(begin, end))
            piece.covered.add(range.begin, range.end);
        };
        for (const JobPointer& job : chunk->second.storing) take(*job->slot);
        if (chunk->second.active != nullptr) take(*chunk->second.active);
        return piece;
      }
    }
    VAULTFS_RETURN_IF_ERROR(contents_.load_page(inode, index / kEntriesPerMapPage));
  }
}

Result<std::size_t> TreeEngine::read(InodeNumber number, std::uint64_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  VAULTFS_RETURN_IF_ERROR(log_.check_unsealed());
  const UseGate::Use use = vault_->segments().use();
  read_ahead(inode, offset, out.size());
  std::size_t done = 0;
  while (done < out.size()) {
    const MutableByteView rest = out.subspan(done);
    VAULTFS_ASSIGN_OR_RETURN(const Piece piece, read_slots(inode, offset + done, rest));
    if (piece.length == 0) break;
    const auto begin = static_cast<std::uint32_t>((offset + done) % kChunkBytes);
    for (const ByteRanges::Range& gap : piece.covered.outside(begin, begin + piece.length)) {
      VAULTFS_RETURN_IF_ERROR(
          reader_->read(piece.base, gap.begin, rest.subspan(gap.begin - begin, gap.end - gap.begin)));
    }
    done += piece.length;
  }
  return done;
}

void TreeEngine::read_ahead(const InodePointer& inode, std::uint64_t offset, std::uint64_t length) {
  const auto depth = std::min<std::uint64_t>(
      {2 * queue_.workers().threads() + 2, kMaxAheadChunks, cache_.limit_bytes() / (std::uint64_t{4} * kChunkBytes)});
  if (depth == 0 || length == 0) return;
  ReadStreams* streams = nullptr;
  {
    const ReaderLock lock(inode->mutex);
    if (inode->size < kReadAheadFileBytes || inode->content == nullptr) return;
    streams = inode->content->streams.get();
  }
  if (streams == nullptr) {
    const WriterLock lock(inode->mutex);
    if (inode->content->streams == nullptr) inode->content->streams = std::make_unique<ReadStreams>();
    streams = inode->content->streams.get();
  }
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  {
    const MutexLock lock(streams->mutex);
    // As far as requests that are under way together can overtake each other: a random read of a few KiB must not pass
    // for a stream's next one because it hits its neighbourhood.
    const std::uint64_t reorder = std::min(kReorderBytes, kReorderedReads * length);
    const auto follows = [&](const ReadStreams::Stream& stream) {
      return stream.used != 0 && offset <= stream.next + reorder && offset + length + reorder > stream.next;
    };
    auto* stream = std::find_if(streams->streams.begin(), streams->streams.end(), follows);
    if (stream == streams->streams.end()) {
      stream = std::min_element(streams->streams.begin(), streams->streams.end(),
                                [](const auto& a, const auto& b) { return a.used < b.used; });
      *stream = {};
    }
    // Random reads within a small area are no stream.
    stream->run = offset + length > stream->next ? stream->run + 1 : 0;
    stream->next = std::max(stream->next, offset + length);
    stream->used = ++streams->clock;
    if (stream->run < kSequentialRun || stream->run * length < kSequentialBytes) return;
    const std::uint64_t here = offset / kChunkBytes;
    first = std::max(stream->ahead_until, here + 1);
    last = here + 1 + depth;
    if (first >= last) return;
    stream->ahead_until = last;
  }
  for (const ChunkId& id : stored_chunks(inode, first, last)) reader_->read_ahead(id);
}

std::vector<ChunkId> TreeEngine::stored_chunks(const InodePointer& inode, std::uint64_t begin, std::uint64_t end) {
  std::vector<ChunkId> ids;
  const ReaderLock lock(inode->mutex);
  if (inode->content == nullptr) return ids;
  const DiskImage& image = *inode->content;
  for (std::uint64_t index = begin; index < end && index * kChunkBytes < inode->size; ++index) {
    if (image.extents.page_to_load(index).has_value() || image.dirty.contains(index)) continue;
    if (const ChunkId id = image.extents.get(index); !id.is_zero()) ids.push_back(id);
  }
  return ids;
}

Result<std::uint64_t> TreeEngine::seek_data(InodeNumber number, std::uint64_t offset) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  for (;;) {
    std::uint64_t page = 0;
    {
      const ReaderLock lock(inode->mutex);
      VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
      if (offset >= inode->size || inode->content == nullptr) return behind_end();
      const DiskImage& image = *inode->content;
      const auto mapped = image.extents.next_candidate(offset / kChunkBytes);
      const auto dirty = image.dirty.lower_bound(offset / kChunkBytes);
      if (!mapped.has_value() && dirty == image.dirty.end()) return behind_end();
      std::uint64_t index = mapped.value_or(~std::uint64_t{0});
      if (dirty != image.dirty.end()) index = std::min(index, dirty->first);
      offset = std::max(offset, index * kChunkBytes);
      if (offset >= inode->size) return behind_end();
      const auto unloaded = image.extents.page_to_load(index);
      if (!unloaded.has_value()) {
        if (!image.extents.get(index).is_zero()) return offset;
        const auto inside =
            slots_of(image, index).inside(static_cast<std::uint32_t>(offset % kChunkBytes), kChunkBytes);
        if (!inside.empty()) {
          const std::uint64_t found = index * kChunkBytes + inside.front().begin;
          if (found >= inode->size) return behind_end();
          return found;
        }
        offset = (index + 1) * kChunkBytes;
        continue;
      }
      page = *unloaded;
    }
    VAULTFS_RETURN_IF_ERROR(contents_.load_page(inode, page));
  }
}

Result<std::uint64_t> TreeEngine::seek_hole(InodeNumber number, std::uint64_t offset) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  bool inside_file = false;
  for (;;) {
    std::uint64_t page = 0;
    {
      const ReaderLock lock(inode->mutex);
      VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
      // The end of the file counts as a hole, but not for who starts there.
      if (offset >= inode->size) {
        if (inside_file) return inode->size;
        return behind_end();
      }
      inside_file = true;
      if (inode->content == nullptr) return offset;
      const DiskImage& image = *inode->content;
      const std::uint64_t index = offset / kChunkBytes;
      const auto unloaded = image.extents.page_to_load(index);
      if (!unloaded.has_value()) {
        if (image.extents.get(index).is_zero()) {
          const auto free =
              slots_of(image, index).outside(static_cast<std::uint32_t>(offset % kChunkBytes), kChunkBytes);
          if (!free.empty()) return std::min(index * kChunkBytes + free.front().begin, inode->size);
        }
        offset = (index + 1) * kChunkBytes;
        continue;
      }
      page = *unloaded;
    }
    VAULTFS_RETURN_IF_ERROR(contents_.load_page(inode, page));
  }
}

Result<std::optional<ChunkId>> TreeEngine::chunk_at(InodeNumber number, ChunkIndexInFile index) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {index.value}));
    const ReaderLock lock(inode->mutex);
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
    if (inode->content == nullptr) return std::optional<ChunkId>(ChunkId{});
    const DiskImage& image = *inode->content;
    if (image.extents.page_to_load(index.value).has_value()) continue;
    if (image.dirty.contains(index.value)) return std::optional<ChunkId>();
    return std::optional<ChunkId>(image.extents.get(index.value));
  }
}

}  // namespace vaultfs
