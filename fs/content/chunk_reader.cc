#include "fs/content/chunk_reader.h"

#include <algorithm>
#include <cstring>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {
namespace {

// A read of at least this much opens its frames straight into the caller's memory.
constexpr std::size_t kDirectReadBytes = kChunkBytes / 2;

Status copy_zero_filled(ByteView content, std::uint32_t offset, MutableByteView out) {
  const ByteView rest = content.subspan(std::min<std::size_t>(offset, content.size()));
  const std::size_t part = std::min(out.size(), rest.size());
  std::copy_n(rest.begin(), part, out.begin());
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(part), out.end(), std::byte{0});
  return ok_status();
}

}  // namespace

Status ChunkReader::read(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  if (id.is_zero()) {
    std::fill(out.begin(), out.end(), std::byte{0});
    return ok_status();
  }
  if (const auto block = whole_chunk(id)) return copy_zero_filled(block->view(), offset, out);
  if (out.size() < kDirectReadBytes) {
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t frame_bytes, store_.read_piece(id, offset, out));
    return frame_bytes == 0 ? ok_status() : read_frames(id, frame_bytes, offset, out);
  }
  if (offset == 0 && out.size() == kChunkBytes) {
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t stored, store_.read_content(id, out));
    std::fill(out.begin() + stored, out.end(), std::byte{0});
    return ok_status();
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t length, store_.length(id));
  const std::size_t stored = std::min<std::size_t>(out.size(), length - std::min(offset, length));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(stored), out.end(), std::byte{0});
  return stored == 0 ? ok_status() : store_.read(id, offset, out.first(stored));
}

Status ChunkReader::read_frames(const ChunkId& id, std::uint32_t frame_bytes, std::uint32_t offset,
                                MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t length, store_.length(id));
  while (!out.empty() && offset < length) {
    const std::uint32_t begin = offset / frame_bytes * frame_bytes;
    const std::uint32_t within = offset - begin;
    const std::size_t part = std::min<std::size_t>({out.size(), frame_bytes - within, length - offset});
    const auto block = frame(id, begin, std::min(frame_bytes, length - begin));
    if (block.ok()) {
      std::memcpy(out.data(), (*block)->view().data() + within, part);
    } else {
      // Of a patch, what was asked for may be undamaged though something beside it is not.
      VAULTFS_RETURN_IF_ERROR(store_.read(id, offset, out.first(part)));
    }
    out = out.subspan(part);
    offset += static_cast<std::uint32_t>(part);
  }
  std::fill(out.begin(), out.end(), std::byte{0});
  return ok_status();
}

Result<std::shared_ptr<const FrameCache::Block>> ChunkReader::frame(const ChunkId& id, std::uint32_t begin,
                                                                    std::uint32_t bytes) {
  if (auto block = cache_.find({id, begin})) return block;
  auto fresh = std::make_shared<FrameCache::Block>(frames_.take(bytes), bytes);
  VAULTFS_RETURN_IF_ERROR(store_.read(id, begin, fresh->bytes()));
  cache_.insert({id, begin}, fresh);
  return std::shared_ptr<const FrameCache::Block>(std::move(fresh));
}

std::shared_ptr<const FrameCache::Block> ChunkReader::whole_chunk(const ChunkId& id) {
  if (auto block = cache_.find({id, kWholeChunk})) return block;
  if (under_way_.load(std::memory_order_acquire) == 0) return nullptr;
  {
    MutexLock lock(mutex_);
    const auto found = ahead_.find(id);
    if (found == ahead_.end()) return nullptr;
    const std::shared_ptr<Ahead> ahead = found->second;
    if (!ahead->started) {  // faster than the queue
      ahead->given_up = true;
      ahead_.erase(found);
      --under_way_;
      return nullptr;
    }
    while (!ahead->given_up) finished_.wait(mutex_);
  }
  return cache_.find({id, kWholeChunk});
}

void ChunkReader::read_ahead(const ChunkId& id) {
  if (id.is_zero() || cache_.find({id, kWholeChunk}) != nullptr) return;
  auto ahead = std::make_shared<Ahead>();
  {
    const MutexLock lock(mutex_);
    if (!ahead_.emplace(id, ahead).second) return;
    ++under_way_;
  }
  // Where it is dropped, nobody reads any more.
  static_cast<void>(workers_.submit(WorkerPool::Kind::reading, [this, id, ahead] { open_ahead(id, ahead); }));
}

void ChunkReader::open_ahead(const ChunkId& id, const std::shared_ptr<Ahead>& ahead) {
  {
    const MutexLock lock(mutex_);
    if (ahead->given_up) return;
    ahead->started = true;
  }
  // A failure is not told here: the reader who needs the chunk meets it again.
  static_cast<void>(or_no_memory([&]() -> Status {
    SlotMemory memory = memory_.take();
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t length, store_.read_content(id, memory.view()));
    cache_.insert({id, kWholeChunk}, std::make_shared<FrameCache::Block>(std::move(memory), length));
    return ok_status();
  }));
  {
    const MutexLock lock(mutex_);
    ahead->given_up = true;
    ahead_.erase(id);
    --under_way_;
  }
  finished_.notify_all();
}

}  // namespace vaultfs
