#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"

namespace vaultfs {

// What the disk does not give is not asked for again at once: it may take its time to say so.
inline constexpr std::int64_t kBetweenLooks = 10'000'000'000;

// The segments that the disk did not give at the opening: looked at again, now and then, by who misses something.
// Thread-safe; its lock is held over such a look and comes before the table's.
class UnreadSegments {
 public:
  UnreadSegments(const SegmentFolder& folder, SegmentTable& table, const SegmentFiles& files, ChunkIndex& index)
      : env_(folder.env), keys_(folder.keys), table_(table), files_(files), index_(index) {}

  // Of a segment, by the opening. What is damaged is not unread.
  void note_unread(ContainerNumber number, const Error& error);
  [[nodiscard]] bool any() const { return any_unread_.load(); }
  // Where the index has the record, after a look at what could not be read before.
  [[nodiscard]] std::optional<ChunkPlace> locate(const ChunkIndex::Key& key);
  // ChunkMissing, or why that can't be said.
  [[nodiscard]] Error missing(const std::string& what) const;

 private:
  // True if anything came of it.
  bool look_again();

  Env& env_;
  const EpochKeys& keys_;
  SegmentTable& table_;
  const SegmentFiles& files_;
  ChunkIndex& index_;
  mutable Mutex mutex_;
  std::map<ContainerNumber, Error> unread_ GUARDED_BY(mutex_);  // and why
  std::int64_t look_again_at_ GUARDED_BY(mutex_) = 0;           // monotonic
  std::atomic<bool> any_unread_ = false;
};

}  // namespace vaultfs
