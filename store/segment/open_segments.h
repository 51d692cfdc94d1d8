#pragma once

#include <cstdint>
#include <memory>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"

namespace vaultfs {

// The segments that this process writes: creates the next one when it is needed, takes a full one out of use, makes
// what was written durable. Closing is ClosedSegments'. Thread-safe; its lock is held while a segment is created, and
// comes before the table's.
class OpenSegments {
 public:
  using Writer = SegmentTable::Writer;

  OpenSegments(const SegmentFolder& folder, SegmentTable& table, ChunkIndex& index, std::uint64_t segment_bytes)
      : env_(folder.env),
        root_(folder.root),
        keys_(folder.keys),
        table_(table),
        index_(index),
        segment_bytes_(segment_bytes) {}

  // The one that takes records, of the current epoch.
  [[nodiscard]] Result<Writer> current_writer() EXCLUDES(creating_mutex_);
  // It takes no further records; ClosedSegments::close_retired() closes it.
  void retire(const Writer& writer);
  void retire_active();
  // On return no segment is being created whose creation began before.
  void wait_for_creation() EXCLUDES(creating_mutex_) { const MutexLock creating(creating_mutex_); }
  // As SegmentStore::sync().
  [[nodiscard]] Status sync();

 private:
  [[nodiscard]] Result<ContainerNumber> take_segment_number();

  Env& env_;
  const Env::Path& root_;
  const EpochKeys& keys_;
  SegmentTable& table_;
  ChunkIndex& index_;
  const std::uint64_t segment_bytes_;
  Mutex creating_mutex_;  // guards nothing
};

}  // namespace vaultfs
