#include "store/index/record_map_cache.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

std::size_t memory_of(const RecordMap& map) {
  constexpr std::size_t kNodeBytes = 80;  // of the table, and the shared pointer's counts
  return kNodeBytes + sizeof(RecordMap) + map.table.frames.capacity() * sizeof(FrameTable::Frame);
}

}  // namespace

std::shared_ptr<const RecordMap> RecordMapCache::find(ContainerNumber segment, std::uint64_t offset) {
  const Place place{segment, offset};
  const MutexLock lock(mutex_);
  if (const auto found = young_.find(place); found != young_.end()) return found->second;
  const auto found = old_.find(place);
  if (found == old_.end()) return nullptr;
  std::shared_ptr<const RecordMap> map = found->second;
  insert_locked(place, map);
  return map;
}

void RecordMapCache::insert(ContainerNumber segment, std::uint64_t offset, std::shared_ptr<const RecordMap> map) {
  const MutexLock lock(mutex_);
  insert_locked({segment, offset}, std::move(map));
}

void RecordMapCache::insert_locked(const Place& place, std::shared_ptr<const RecordMap> map) {
  if (young_bytes_ >= kGenerationBytes) {
    old_ = std::exchange(young_, {});
    young_bytes_ = 0;
  }
  young_bytes_ += memory_of(*map);
  young_.insert_or_assign(place, std::move(map));
}

}  // namespace vaultfs
