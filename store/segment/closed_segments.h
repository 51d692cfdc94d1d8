#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/index/index_head.h"
#include "store/index/patch_bases.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"

namespace vaultfs {

// Gives segments their final names, removes them, and writes the index file that names them: one of these at a time.
// Thread-safe; its lock is held over that, and comes before all others of the store.
class ClosedSegments {
 public:
  ClosedSegments(const SegmentFolder& folder, SegmentTable& table, SegmentFiles& files, ChunkIndex& index,
                 PatchBases& bases)
      : env_(folder.env),
        root_(folder.root),
        blobs_(folder.blobs),
        keys_(folder.keys),
        table_(table),
        files_(files),
        index_(index),
        bases_(bases) {}

  // Closes what OpenSegments::retire() took out of use. The first error; the others are closed nevertheless.
  [[nodiscard]] Status close_retired() EXCLUDES(closing_mutex_);
  // Closes what the opening could not close. An error if it has to stay.
  [[nodiscard]] Status close_found_open(ContainerNumber number) EXCLUDES(closing_mutex_);
  // Removes the files of segments from which everything needed was moved, durably. `removed`: how many of them, in
  // their order, are gone, also after an error.
  [[nodiscard]] Status remove(const std::vector<ContainerNumber>& segments, std::size_t& removed)
      EXCLUDES(closing_mutex_);

  // As SegmentStore::save_index().
  [[nodiscard]] Status save_index(const IndexHead& newest) EXCLUDES(closing_mutex_);
  // The opening has found an index of this vault. Numbers count only where no more than an old key can't have made it.
  void found_index(std::uint64_t number, bool of_current_epoch) EXCLUDES(closing_mutex_);

 private:
  void note_closed(const SegmentTable::Writer& writer, const Result<std::uint64_t>& closed) REQUIRES(closing_mutex_);
  [[nodiscard]] Status remove_own_indexes() REQUIRES(closing_mutex_);

  Env& env_;
  const Env::Path& root_;
  BlobStore& blobs_;
  const EpochKeys& keys_;
  SegmentTable& table_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  PatchBases& bases_;
  Mutex closing_mutex_;
  // The highest index number in use, and those of all indexes that are this vault's.
  std::uint64_t last_index_ GUARDED_BY(closing_mutex_) = 0;
  std::set<std::uint64_t> own_indexes_ GUARDED_BY(closing_mutex_);
};

}  // namespace vaultfs
