#pragma once

#include <cstddef>
#include <memory>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/index/record_map_cache.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_reader.h"
#include "store/segment/file/segment_table.h"

namespace vaultfs {

// Opens the files of segments for reading, by number, whoever writes them and whatever their name is by now; keeps the
// readers used last. Thread-safe.
class SegmentFiles {
 public:
  SegmentFiles(const SegmentFolder& folder, SegmentTable& table, std::size_t max_open_segments)
      : env_(folder.env),
        root_(folder.root),
        blobs_(folder.blobs),
        keys_(folder.keys),
        table_(table),
        readers_(max_open_segments) {}

  // SegmentMissing, the errors of opening a file.
  [[nodiscard]] Result<std::shared_ptr<File>> file_of(ContainerNumber number) const;
  // The same with its cipher. Also the errors of SegmentReader::open().
  [[nodiscard]] Result<std::shared_ptr<const SegmentReader>> reader_of(ContainerNumber number);
  // The whole id of the record at `place`, as its header says it. ChunkMismatch, the errors of file_of() and of
  // reading.
  [[nodiscard]] Result<ChunkId> id_at(const ChunkIndex::Key& key, const ChunkPlace& place) const;
  // As SegmentStore::epoch_of(): the header is read once.
  [[nodiscard]] Result<EpochNumber> epoch_of(ContainerNumber segment);

  // Lets go of a segment's reader.
  void forget(ContainerNumber number) { readers_.erase(number); }
  void drop_ciphers() { readers_.clear(); }

 private:
  [[nodiscard]] Result<std::shared_ptr<const SegmentReader>> open_reader(ContainerNumber number);

  Env& env_;
  const Env::Path& root_;
  BlobStore& blobs_;
  const EpochKeys& keys_;
  SegmentTable& table_;
  RecordMapCache maps_;  // of the readers
  SegmentReaderCache readers_;
};

}  // namespace vaultfs
