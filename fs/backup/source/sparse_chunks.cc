#include "fs/backup/source/sparse_chunks.h"

#include <algorithm>

#include "base/thread/mutex.h"

namespace vaultfs {

void SparseChunks::set(std::uint64_t index, const ChunkId& id) {
  Block* block = nullptr;
  {
    const MutexLock lock(mutex_);
    std::unique_ptr<Block>& known = blocks_[index / kBlock];
    if (known == nullptr) {
      if (id.is_zero()) return;
      known = std::make_unique<Block>();
    }
    block = known.get();
  }
  (*block)[index % kBlock] = id;
}

ChunkId SparseChunks::get(std::uint64_t index) const {
  const std::unique_ptr<Block>& block = blocks_[index / kBlock];
  return block == nullptr ? ChunkId{} : (*block)[index % kBlock];
}

std::uint64_t SparseChunks::next(std::uint64_t from) const {
  for (std::uint64_t index = from; index < count_;) {
    const std::unique_ptr<Block>& block = blocks_[index / kBlock];
    if (block == nullptr) {
      index = (index / kBlock + 1) * kBlock;
      continue;
    }
    if (!(*block)[index % kBlock].is_zero()) return index;
    ++index;
  }
  return count_;
}

Result<std::optional<std::uint64_t>> ChunkDealer::next() {
  const MutexLock lock(mutex_);
  if (run_.begin >= run_.end) {
    const std::uint64_t from = run_.end;
    if (from >= count_) return std::optional<std::uint64_t>();
    VAULTFS_ASSIGN_OR_RETURN(Run found, find_(from));
    found.begin = std::min(std::max(found.begin, from), count_);
    found.end = std::min(std::max(found.end, found.begin), count_);
    run_ = found.begin == found.end ? Run{count_, count_} : found;
    if (run_.begin > from) VAULTFS_RETURN_IF_ERROR(skipped_(from, run_.begin));
    if (run_.begin >= count_) return std::optional<std::uint64_t>();
  }
  return std::optional<std::uint64_t>(run_.begin++);
}

}  // namespace vaultfs
