#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"

namespace vaultfs {

[[nodiscard]] inline bool is_same_record(const ChunkPlace& a, const ChunkPlace& b) {
  return a.segment == b.segment && a.offset == b.offset;
}

// Other records of an id: any that is not damaged will do (docs/format.md, section 3). The footers are searched for
// them once, by whoever meets damage first. Thread-safe; the lock is held over the search, and comes before the
// table's.
class OtherRecords {
 public:
  OtherRecords(const SegmentFolder& folder, const SegmentTable& table, const ChunkIndex& index)
      : env_(folder.env), blobs_(folder.blobs), keys_(folder.keys), table_(table), index_(index) {}

  // Where footers list it, but for where the index had it then; none of it has been read.
  [[nodiscard]] std::vector<ChunkPlace> other_places(const ChunkId& id) EXCLUDES(mutex_);

 private:
  // Reads those of `unsearched_`, and leaves in it what could not be read.
  [[nodiscard]] Status search_footers() REQUIRES(mutex_);

  Env& env_;
  BlobStore& blobs_;
  const EpochKeys& keys_;
  const SegmentTable& table_;
  const ChunkIndex& index_;
  Mutex mutex_;
  std::map<ChunkIndex::Key, std::vector<ChunkPlace>> others_
      GUARDED_BY(mutex_);  // where footers list what the index has elsewhere
  std::optional<std::set<ContainerNumber>> unsearched_ GUARDED_BY(mutex_);  // nothing: all closed ones, not listed yet
  std::int64_t search_again_at_ GUARDED_BY(mutex_) = 0;                     // monotonic
  std::size_t others_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
