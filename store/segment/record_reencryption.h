#pragma once

#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"
#include "store/segment/chunk_writer.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/open_segments.h"
#include "store/segment/read/patch_reader.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/read/unread_segments.h"
#include "store/segment/segment_store.h"
#include "store/segment/unused_bytes.h"

namespace vaultfs {

// Stores records anew under the current epoch: docs/decisions/0007-reencryption.md. Each function is SegmentStore's of
// the same name. Thread-safe.
class RecordReencryption {
 public:
  RecordReencryption(const SegmentTable& table, SegmentFiles& files, ChunkIndex& index, UnreadSegments& unread,
                     RecordReader& records, PatchReader& patches, OpenSegments& open, ChunkWriter& writer,
                     UnusedBytes& unused)
      : table_(table),
        files_(files),
        index_(index),
        unread_(unread),
        records_(records),
        patches_(patches),
        open_(open),
        writer_(writer),
        unused_(unused) {}

  [[nodiscard]] std::vector<EpochUse> epochs();
  // REQUIRES: the store may be written.
  [[nodiscard]] Result<ReencryptedRecords> reencrypt(const ChunkId& id, EpochNumber oldest);
  [[nodiscard]] Status sync_reencrypted();

 private:
  [[nodiscard]] Status reencrypt_record(const ChunkId& id, ChunkPlace place, EpochNumber oldest,
                                        ReencryptedRecords& outcome);

  const SegmentTable& table_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  UnreadSegments& unread_;
  RecordReader& records_;
  PatchReader& patches_;
  OpenSegments& open_;
  ChunkWriter& writer_;
  UnusedBytes& unused_;
  struct Reencrypted {
    ChunkId id;
    ChunkPlace before;
  };
  Mutex reencrypted_mutex_;                                              // a leaf
  std::vector<Reencrypted> reencrypted_ GUARDED_BY(reencrypted_mutex_);  // not settled yet
};

}  // namespace vaultfs
