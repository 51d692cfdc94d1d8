#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/index/patch.h"
#include "store/record/epoch_keys.h"
#include "store/segment/chunk_writer.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/read/patch_reader.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/read/unread_segments.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// Makes patches: docs/format.md, section 4.4; why they are: docs/decisions/0004-patches.md. Thread-safe; owns no lock.
class PatchWriter {
 public:
  PatchWriter(const SegmentFolder& folder, const SegmentStore::Options& options, SegmentFiles& files, ChunkIndex& index,
              UnreadSegments& unread, RecordReader& records, PatchReader& patches, ChunkWriter& writer)
      : keys_(folder.keys),
        options_(options),
        files_(files),
        index_(index),
        unread_(unread),
        records_(records),
        patches_(patches),
        writer_(writer) {}

  // As SegmentStore::put_patch() and heal_patch().
  [[nodiscard]] Result<std::optional<PutOutcome>> put_patch(const PatchDraft& draft);
  [[nodiscard]] Result<bool> heal_patch(const ChunkId& id, ByteView content);

 private:
  using Located = RecordReader::Located;
  struct Flattened;
  [[nodiscard]] Result<Flattened> flatten(const PatchDraft& draft);
  [[nodiscard]] Result<Bytes> gather_pages(const PatchDraft& draft, Flattened& flat);
  [[nodiscard]] Result<Bytes> flatten_pages(const PatchDraft& draft, Flattened& flat);

  const EpochKeys& keys_;
  const SegmentStore::Options& options_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  UnreadSegments& unread_;
  RecordReader& records_;
  PatchReader& patches_;
  ChunkWriter& writer_;
};

}  // namespace vaultfs
