#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/checked_records.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_reader.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/read/found_damage.h"
#include "store/segment/read/other_records.h"
#include "store/segment/read/unread_segments.h"

namespace vaultfs {

// Finds, proves and reads the record of an id, whatever it is: a chunk, a map page, a patch without its base. What lies
// under a closed epoch is believed only by its id: docs/decisions/0014-closed-epochs.md. What is found damaged is
// marked and passed over for another record of the same id. Thread-safe; owns no lock.
class RecordReader {
 public:
  RecordReader(const SegmentFolder& folder, const SegmentTable& table, SegmentFiles& files, ChunkIndex& index,
               FoundDamage& damage, UnreadSegments& unread, OtherRecords& others, std::size_t checked_bytes)
      : keys_(folder.keys),
        table_(table),
        files_(files),
        index_(index),
        damage_(damage),
        unread_(unread),
        others_(others),
        checked_(folder.env, checked_bytes) {}

  // A record that is about to be read. Under a closed epoch place, type and lengths are only what somebody says, until
  // it is `checked`.
  struct Located {
    ChunkPlace place;
    std::shared_ptr<const SegmentReader> reader;
    bool closed = false;
    std::shared_ptr<const CheckedRecord> checked;
    [[nodiscard]] bool proven() const noexcept { return !closed || checked != nullptr; }
  };

  // Finding it, proving it, reading of it what is wanted. All mark what is damaged and pass it over. `record` is then
  // another one of the same id; with believe() and find_record() also of another type than it seemed to be.
  [[nodiscard]] Result<Located> find_record(const ChunkId& id);
  [[nodiscard]] Status believe(const ChunkId& id, Located& record);
  [[nodiscard]] Result<Located> find_proven(const ChunkId& id);
  // REQUIRES: the record is proven, the range lies in its plaintext.
  [[nodiscard]] Status read_record(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  // The plaintext of the whole record, its id recomputed, and in `place` where it was read.
  [[nodiscard]] Result<Bytes> read_verified_record(const ChunkId& id, ChunkPlace& place);
  // As SegmentStore::probe().
  [[nodiscard]] Result<bool> probe(const ChunkIndex::Key& key);

  // At one place: marks what is damaged, looks nowhere else.
  //
  // Into `out`, which has the length that the place says; its id recomputed, nothing kept.
  [[nodiscard]] Status read_whole_record_at(const ChunkId& id, const Located& record, MutableByteView out);
  [[nodiscard]] Result<Bytes> read_verified_at(const ChunkId& id, const ChunkPlace& place);

  // Another record that is what the id says, in the place of a damaged one, and from here on in the index.
  [[nodiscard]] std::optional<Located> pass_over(const ChunkId& id, const ChunkPlace& failed);

  // The record of a closed epoch, if it was checked and that is still known; null if not.
  [[nodiscard]] std::shared_ptr<const CheckedRecord> checked(const ChunkId& id) { return checked_.find(id); }
  void forget_checked() { checked_.clear(); }

 private:
  [[nodiscard]] Result<Located> open_record_at(const ChunkId& id, const ChunkPlace& place);
  [[nodiscard]] Status read_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  // Opens a record of a closed epoch whole, compares its id, keeps what proves it, and copies a part of it.
  [[nodiscard]] Status check_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Status compare_id(const ChunkId& id, const ChunkPlace& place, ByteView content);
  void prefer_copy(const ChunkId& id, const ChunkPlace& failed, const ChunkPlace& found);

  const EpochKeys& keys_;
  const SegmentTable& table_;
  SegmentFiles& files_;
  ChunkIndex& index_;
  FoundDamage& damage_;
  UnreadSegments& unread_;
  OtherRecords& others_;
  CheckedRecords checked_;
};

}  // namespace vaultfs
