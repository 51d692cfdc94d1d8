#include "fs/chunk_reader.h"

#include <algorithm>
#include <cstring>

#include "vaultmeta/inode_record.h"

namespace vaultfs {
namespace {

// A read of at least this much opens its frames straight into the caller's memory.
constexpr std::size_t kDirectReadBytes = kChunkBytes / 2;

}  // namespace

Status ChunkReader::read(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  std::uint32_t length = 0;
  if (!id.is_zero()) {
    VAULTFS_ASSIGN_OR_RETURN(length, store_.length(id));
  }
  const std::size_t stored = offset < length ? std::min<std::size_t>(out.size(), length - offset) : 0;
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(stored), out.end(), std::byte{0});
  out = out.first(stored);
  if (out.empty()) return ok_status();
  if (const auto block = whole_chunk(id)) {
    std::memcpy(out.data(), block->view().data() + offset, out.size());
    return ok_status();
  }
  if (out.size() >= kDirectReadBytes) return store_.read(id, offset, out);
  return read_frames(id, length, offset, out);
}

Status ChunkReader::read_frames(const ChunkId& id, std::uint32_t length, std::uint32_t offset, MutableByteView out) {
  while (!out.empty()) {
    const std::uint32_t frame = offset / kCachedFrameBytes;
    const std::uint32_t begin = frame * kCachedFrameBytes;
    std::shared_ptr<const FrameCache::Block> block = cache_.find({id, frame});
    if (block == nullptr) {
      auto fresh = std::make_shared<FrameCache::Block>(std::min(kCachedFrameBytes, length - begin));
      VAULTFS_RETURN_IF_ERROR(store_.read(id, begin, fresh->bytes()));
      cache_.insert({id, frame}, fresh);
      block = std::move(fresh);
    }
    const std::uint32_t within = offset - begin;
    const std::size_t part = std::min(out.size(), block->view().size() - within);
    std::memcpy(out.data(), block->view().data() + within, part);
    out = out.subspan(part);
    offset += static_cast<std::uint32_t>(part);
  }
  return ok_status();
}

std::shared_ptr<const FrameCache::Block> ChunkReader::whole_chunk(const ChunkId& id) {
  if (auto block = cache_.find({id, kWholeChunk})) return block;
  {
    std::unique_lock lock(mutex_);
    const auto found = ahead_.find(id);
    if (found == ahead_.end()) return nullptr;
    const std::shared_ptr<Ahead> ahead = found->second;
    if (!ahead->started) {  // faster than the queue
      ahead->given_up = true;
      ahead_.erase(found);
      return nullptr;
    }
    finished_.wait(lock, [&] { return ahead->given_up; });
  }
  return cache_.find({id, kWholeChunk});
}

void ChunkReader::read_ahead(const ChunkId& id) {
  if (id.is_zero() || cache_.find({id, kWholeChunk}) != nullptr) return;
  auto ahead = std::make_shared<Ahead>();
  {
    const std::lock_guard lock(mutex_);
    if (!ahead_.emplace(id, ahead).second) return;
  }
  workers_.submit(WorkerPool::Kind::reading, [this, id, ahead] { open_ahead(id, ahead); });
}

void ChunkReader::open_ahead(const ChunkId& id, const std::shared_ptr<Ahead>& ahead) {
  {
    const std::lock_guard lock(mutex_);
    if (ahead->given_up) return;
    ahead->started = true;
  }
  // A failure is not told here: the reader who needs the chunk meets it again.
  const Result<std::uint32_t> length = store_.length(id);
  if (length.ok()) {
    auto block = std::make_shared<FrameCache::Block>(memory_.take(), *length);
    if (store_.read(id, 0, block->bytes()).ok()) cache_.insert({id, kWholeChunk}, std::move(block));
  }
  {
    const std::lock_guard lock(mutex_);
    ahead->given_up = true;
    ahead_.erase(id);
  }
  finished_.notify_all();
}

}  // namespace vaultfs
