#pragma once

#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"
#include "store/index/damaged_chunk.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"

namespace vaultfs {

// What says that the stored bytes are not, or can no longer be read as, what was put.
[[nodiscard]] bool is_damage(ErrorCode code);

// Marks in the index what reads find damaged, and keeps it for take(): docs/format.md, sections 4.3 and 9.1.
// Thread-safe.
class FoundDamage {
 public:
  FoundDamage(const SegmentFolder& folder, const SegmentFiles& files, ChunkIndex& index)
      : env_(folder.env), root_(folder.root), files_(files), index_(index) {}

  // A read of the record at `place` failed: marks and tells it if that says something of the record.
  void note_failure(const ChunkId& id, const ChunkPlace& place, const Error& error);
  void tell_damaged(const ChunkIndex::Key& key, const ChunkPlace& place);
  // Looks at the disk where the error alone does not say.
  [[nodiscard]] bool says_damage(const ChunkPlace& place, ErrorCode code) const;

  // As SegmentStore::take_damage() and lay_damage().
  [[nodiscard]] std::vector<DamagedChunk> take();
  void lay(const std::vector<DamagedChunk>& known);
  // What the index has marked, for the opening.
  void tell_what_is_marked();

 private:
  [[nodiscard]] bool still_readable(ContainerNumber segment) const;

  Env& env_;
  const Env::Path& root_;
  const SegmentFiles& files_;
  ChunkIndex& index_;
  Mutex mutex_;  // a leaf
  std::vector<DamagedChunk> found_damaged_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
