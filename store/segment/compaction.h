#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/segment/chunk_writer.h"
#include "store/segment/closed_segments.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/open_segments.h"
#include "store/segment/read/patch_reader.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/segment_store.h"
#include "store/segment/unused_bytes.h"
#include "store/segment/use_gate.h"

namespace vaultfs {

// Removes segments whose records nobody needs any more: docs/decisions/0005-compaction.md has why no interleaving
// removes what somebody needs. By one thread at a time; owns no lock.
class Compaction {
 public:
  Compaction(const SegmentFolder& folder, SegmentTable& table, SegmentFiles& files, ChunkIndex& index,
             RecordReader& records, PatchReader& patches, OpenSegments& open, ClosedSegments& closed,
             ChunkWriter& writer, UseGate& uses, UnusedBytes& unused)
      : blobs_(folder.blobs),
        keys_(folder.keys),
        table_(table),
        files_(files),
        index_(index),
        records_(records),
        patches_(patches),
        open_(open),
        closed_(closed),
        writer_(writer),
        uses_(uses),
        unused_(unused) {}

  // As SegmentStore's. REQUIRES, of compact(): the store may be written.
  void begin_collection();
  [[nodiscard]] Status retain(const ChunkId& id);
  [[nodiscard]] Result<CompactionOutcome> compact(const std::set<ContainerNumber>& kept,
                                                  const CompactionLimits& limits);

 private:
  struct Candidate {
    ContainerNumber number;
    std::uint64_t file_bytes = 0;
    std::uint64_t live_bytes = 0;
  };
  using FileSizes = SegmentTable::FileSizes;
  [[nodiscard]] FileSizes removable(const std::set<ContainerNumber>& kept) const;
  // What stands in for worse records in `kept` segments counts as needed.
  [[nodiscard]] Status retain_healed(const FileSizes& removable, const std::set<ContainerNumber>& kept);
  [[nodiscard]] std::vector<Candidate> candidates(const FileSizes& removable, const CompactionLimits& limits);
  // Moves what is needed of a segment. False if it has to stay. Adds the stored bytes to `moved`.
  [[nodiscard]] Result<bool> empty_out(const Candidate& candidate, std::uint64_t& moved);
  [[nodiscard]] Status remove_segments(std::vector<Candidate> emptied, CompactionOutcome& outcome);
  // Takes out what the index still names; from here on no read settles on the rest.
  void keep_needed(std::vector<Candidate>& emptied);

  BlobStore& blobs_;
  const EpochKeys& keys_;
  SegmentTable& table_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  RecordReader& records_;
  PatchReader& patches_;
  OpenSegments& open_;
  ClosedSegments& closed_;
  ChunkWriter& writer_;
  UseGate& uses_;
  UnusedBytes& unused_;
};

}  // namespace vaultfs
