#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/index/chunk_index_file.h"
#include "store/index/patch_bases.h"
#include "store/record/epoch_keys.h"
#include "store/segment/closed_segments.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/read/found_damage.h"
#include "store/segment/read/unread_segments.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// Finds, recovers and indexes what is stored, when a store is opened: nobody else knows the store yet. Lives for that
// only.
class StoreOpening {
 public:
  StoreOpening(const SegmentFolder& folder, const SegmentStore::Options& options, SegmentTable& table,
               ChunkIndex& index, PatchBases& bases, FoundDamage& damage, UnreadSegments& unread,
               ClosedSegments& closed)
      : env_(folder.env),
        root_(folder.root),
        blobs_(folder.blobs),
        keys_(folder.keys),
        options_(options),
        table_(table),
        index_(index),
        bases_(bases),
        damage_(damage),
        unread_(unread),
        closed_(closed) {}

  // As SegmentStore::open().
  [[nodiscard]] Status load(SegmentRecovery& recovery);

 private:
  struct Found;  // what the directory holds
  [[nodiscard]] Result<Found> list_files(SegmentRecovery& recovery);
  [[nodiscard]] Status sort_out_strangers(Found& found, SegmentRecovery& recovery);
  [[nodiscard]] Status load_index(const Found& found, SegmentRecovery& recovery, std::set<ContainerNumber>& loaded);
  struct ReadIndex {
    ChunkIndexFile file;
    EpochNumber sealed_under;
  };
  [[nodiscard]] Result<std::optional<ReadIndex>> read_index(std::uint64_t number, SegmentRecovery& recovery);
  [[nodiscard]] Status take_index(const ReadIndex& index, ContainerNumber highest, const Found& found,
                                  SegmentRecovery& recovery, std::set<ContainerNumber>& loaded);
  [[nodiscard]] Status load_closed(ContainerNumber number, SegmentRecovery& recovery);
  [[nodiscard]] Status load_open(ContainerNumber number, SegmentRecovery& recovery);
  [[nodiscard]] Status check_may_be_open(ContainerNumber number) const;

  Env& env_;
  const Env::Path& root_;
  BlobStore& blobs_;
  const EpochKeys& keys_;
  const SegmentStore::Options& options_;
  SegmentTable& table_;
  ChunkIndex& index_;
  PatchBases& bases_;
  FoundDamage& damage_;
  UnreadSegments& unread_;
  ClosedSegments& closed_;
};

}  // namespace vaultfs
