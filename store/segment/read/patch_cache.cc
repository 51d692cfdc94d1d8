#include "store/segment/read/patch_cache.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

std::optional<PatchHeader> PatchCache::find(const ChunkId& id, const EpochKeys& keys) {
  const auto counts = [&](const Known& known) {
    return known.vouched_by == kById || keys.is_current(known.vouched_by);
  };
  const MutexLock lock(mutex_);
  if (const auto found = young_.find(id); found != young_.end()) {
    return counts(found->second) ? std::optional(found->second.header) : std::nullopt;
  }
  const auto found = old_.find(id);
  if (found == old_.end() || !counts(found->second)) return std::nullopt;
  const Known known = found->second;
  insert_locked(id, known);
  return known.header;
}

void PatchCache::insert(const ChunkId& id, const PatchHeader& header, EpochNumber vouched_by) {
  const MutexLock lock(mutex_);
  insert_locked(id, {header, vouched_by});
}

void PatchCache::insert_locked(const ChunkId& id, const Known& known) {
  if (young_.size() >= kGeneration) old_ = std::exchange(young_, {});
  young_.insert_or_assign(id, known);
}

void PatchCache::clear() {
  const MutexLock lock(mutex_);
  young_.clear();
  old_.clear();
}

}  // namespace vaultfs
