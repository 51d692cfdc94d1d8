#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/index/patch.h"
#include "store/index/patch_bases.h"
#include "store/record/epoch_keys.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/read/found_damage.h"
#include "store/segment/read/patch_cache.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/read/unread_segments.h"

namespace vaultfs {

// Reads patches, and what they lie over: docs/format.md, section 4.4; why they are: docs/decisions/0004-patches.md.
// Thread-safe; owns no lock.
class PatchReader {
 public:
  using Located = RecordReader::Located;

  PatchReader(const SegmentFolder& folder, SegmentFiles& files, FoundDamage& damage, UnreadSegments& unread,
              RecordReader& records, PatchBases& bases)
      : keys_(folder.keys), files_(files), damage_(damage), unread_(unread), records_(records), bases_(bases) {}

  // REQUIRES: the record is proven, and a patch. The errors of reading it.
  [[nodiscard]] Result<PatchHeader> patch_header(const ChunkId& id, Located& record);
  // If it was read or put lately.
  [[nodiscard]] std::optional<PatchHeader> known_header(const ChunkId& id) { return headers_.find(id, keys_); }
  // The patch was just put, or was there.
  void note_put(const ChunkId& id, const PatchHeader& header);
  void forget_headers() { headers_.clear(); }

  // The key of what a patch lies over; nothing if that is a hole.
  [[nodiscard]] Result<std::optional<ChunkIndex::Key>> base_of(const ChunkId& id, const ChunkPlace& place);
  // A hole, or where the index has a chunk. ChunkMissing, ChunkMismatch.
  [[nodiscard]] Result<std::optional<ChunkPlace>> base_place(const ChunkId& base);
  // The length of the chunk at `place`, or where that is not proven the greatest there is.
  [[nodiscard]] std::uint32_t length_at_most(const ChunkId& id, const ChunkPlace& place);

  // REQUIRES, of all: the record is proven, and a patch. As SegmentStore::read(), read_piece().
  [[nodiscard]] Status read_patched(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Result<std::uint32_t> read_patched_piece(const ChunkId& id, Located& record, std::uint32_t offset,
                                                         MutableByteView out);
  // Of the patch whose whole, verified plaintext this is.
  [[nodiscard]] Result<Bytes> read_verified_patch(const ChunkId& id, const ChunkPlace& place, ByteView plaintext);

 private:
  // A hole, or a chunk's proven record. ChunkMissing, ChunkMismatch, the errors of reading it.
  [[nodiscard]] Result<std::optional<Located>> base_record(const ChunkId& base);
  [[nodiscard]] Status read_base(const PatchHeader& patch, std::uint32_t offset, MutableByteView out);

  const EpochKeys& keys_;
  SegmentFiles& files_;
  FoundDamage& damage_;
  UnreadSegments& unread_;
  RecordReader& records_;
  PatchBases& bases_;
  PatchCache headers_;
};

}  // namespace vaultfs
