#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// The least recently used map pages of recovery points, at most `capacity` of 8 KiB each. Thread-safe: a page that two
// threads miss at once is read twice, which does no harm because pages never change.
class MapPageCache {
 public:
  explicit MapPageCache(SegmentStore& segments, std::size_t capacity = 256)
      : segments_(segments), capacity_(capacity) {}

  // The page with that id, its ChunkId recomputed when it was read. The errors of SegmentStore::read_verified,
  // DamagedRecord.
  [[nodiscard]] Result<std::shared_ptr<const MapPage>> load(const ChunkId& id);

 private:
  using Entry = std::pair<ChunkId, std::shared_ptr<const MapPage>>;
  SegmentStore& segments_;
  const std::size_t capacity_;
  Mutex mutex_;  // a leaf
  std::list<Entry> newest_first_ GUARDED_BY(mutex_);
  std::unordered_map<ChunkId, std::list<Entry>::iterator> by_id_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
