#pragma once

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/segment/chunk_writer.h"
#include "store/segment/closed_segments.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/open_segments.h"
#include "store/segment/read/record_reader.h"

namespace vaultfs {

// What has to be done before a DEK epoch is closed: from then on no segment of it is written, finished or recovered.
// Thread-safe; owns no lock.
class EpochEnd {
 public:
  EpochEnd(const SegmentFolder& folder, const SegmentTable& table, const SegmentFiles& files, const ChunkIndex& index,
           RecordReader& records, OpenSegments& open, ClosedSegments& closed, ChunkWriter& writer)
      : env_(folder.env),
        root_(folder.root),
        table_(table),
        files_(files),
        index_(index),
        records_(records),
        open_(open),
        closed_(closed),
        writer_(writer) {}

  // As SegmentStore's. REQUIRES: the store may be written.
  [[nodiscard]] Status close_all_segments();

 private:
  // Of what a failed sync left.
  [[nodiscard]] Status move_out_of_abandoned(ContainerNumber number);

  Env& env_;
  const Env::Path& root_;
  const SegmentTable& table_;
  const SegmentFiles& files_;
  const ChunkIndex& index_;
  RecordReader& records_;
  OpenSegments& open_;
  ClosedSegments& closed_;
  ChunkWriter& writer_;
};

}  // namespace vaultfs
