#include "fs/content/map_page_cache.h"

#include "base/thread/mutex.h"

namespace vaultfs {

Result<std::shared_ptr<const MapPage>> MapPageCache::load(const ChunkId& id) {
  {
    const MutexLock lock(mutex_);
    const auto known = by_id_.find(id);
    if (known != by_id_.end()) {
      newest_first_.splice(newest_first_.begin(), newest_first_, known->second);
      return known->second->second;
    }
  }
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, segments_.read_verified(RecordType::map_page, id));
  VAULTFS_ASSIGN_OR_RETURN(MapPage decoded, MapPage::decode(bytes));
  if (decoded.entries.size() != kEntriesPerMapPage) {
    return Error{ErrorCode::DamagedRecord, "a map page has a wrong number of entries"};
  }
  auto page = std::make_shared<const MapPage>(std::move(decoded));
  const MutexLock lock(mutex_);
  if (by_id_.contains(id)) return page;
  newest_first_.emplace_front(id, page);
  by_id_[id] = newest_first_.begin();
  if (newest_first_.size() > capacity_) {
    by_id_.erase(newest_first_.back().first);
    newest_first_.pop_back();
  }
  return page;
}

}  // namespace vaultfs
