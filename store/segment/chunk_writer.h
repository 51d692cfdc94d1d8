#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/record/record.h"
#include "store/segment/closed_segments.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/open_segments.h"
#include "store/segment/put_claims.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// Stores records: seals them outside any lock and appends them to the open segment, each content once. Thread-safe;
// owns no lock.
class ChunkWriter {
 public:
  ChunkWriter(const SegmentFolder& folder, const SegmentStore::Options& options, SegmentFiles& files, ChunkIndex& index,
              OpenSegments& open, ClosedSegments& closed)
      : keys_(folder.keys), options_(options), files_(files), index_(index), open_(open), closed_(closed) {}

  // As SegmentStore::put().
  [[nodiscard]] Result<PutOutcome> put(RecordType type, ByteView content);
  [[nodiscard]] Result<PutOutcome> put(RecordType type, const ChunkId& id, ByteView content);
  // The same of any type. REQUIRES: its size is one that the type may have.
  [[nodiscard]] Result<PutOutcome> put_content(RecordType type, const ChunkId& id, ByteView content);
  // Stores it whether it is there or not; the index has this record then.
  [[nodiscard]] Result<PutOutcome> store_new(RecordType type, const ChunkId& id, ByteView content);
  // Whether the record is where the index says, asked of the storage once for an entry that an index file told. What
  // is not there leaves the index. KeyRevoked.
  [[nodiscard]] Result<bool> confirmed(const ChunkId& id, const ChunkPlace& place);

 private:
  // And nobody need look whether it is.
  [[nodiscard]] bool is_stored(const ChunkId& id) const;

  const EpochKeys& keys_;
  const SegmentStore::Options& options_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  OpenSegments& open_;
  ClosedSegments& closed_;
  PutClaims claims_;
};

}  // namespace vaultfs
