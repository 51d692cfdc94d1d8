#include "store/patch_cache.h"

#include <utility>

namespace vaultfs {

std::optional<PatchHeader> PatchCache::find(const ChunkId& id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = young_.find(id); found != young_.end()) return found->second;
  const auto found = old_.find(id);
  if (found == old_.end()) return std::nullopt;
  const PatchHeader header = found->second;
  insert_locked(id, header);
  return header;
}

void PatchCache::insert(const ChunkId& id, const PatchHeader& header) {
  const std::lock_guard lock(mutex_);
  insert_locked(id, header);
}

void PatchCache::insert_locked(const ChunkId& id, const PatchHeader& header) {
  if (young_.size() >= kGeneration) old_ = std::exchange(young_, {});
  young_.insert_or_assign(id, header);
}

void PatchCache::clear() {
  const std::lock_guard lock(mutex_);
  young_.clear();
  old_.clear();
}

}  // namespace vaultfs
