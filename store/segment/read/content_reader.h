#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/index/patch.h"
#include "store/record/record.h"
#include "store/segment/read/found_damage.h"
#include "store/segment/read/patch_reader.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/read/unread_segments.h"

namespace vaultfs {

// Reads content by its id, whether it is stored whole or as a patch: each function is SegmentStore's of the same name.
// Thread-safe; owns no lock.
class ContentReader {
 public:
  ContentReader(FoundDamage& damage, UnreadSegments& unread, RecordReader& records, PatchReader& patches)
      : damage_(damage), unread_(unread), records_(records), patches_(patches) {}

  [[nodiscard]] Status read(const ChunkId& id, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Result<std::uint32_t> read_content(const ChunkId& id, MutableByteView out);
  [[nodiscard]] Result<std::uint32_t> read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Result<Bytes> read_verified(RecordType type, const ChunkId& id);

  [[nodiscard]] Result<std::uint32_t> length(const ChunkId& id);
  [[nodiscard]] Result<RecordType> listed_type(const ChunkId& id);
  [[nodiscard]] Result<ContainerNumber> segment_of(const ChunkId& id);
  [[nodiscard]] Result<std::optional<PatchHeader>> patch_of(const ChunkId& id);
  [[nodiscard]] Result<std::optional<ContainerNumber>> base_segment_of(const ChunkId& id);
  [[nodiscard]] Result<std::optional<ChunkIndex::Key>> base_key_of(const ChunkId& id);

 private:
  using Located = RecordReader::Located;
  // REQUIRES: the record is proven.
  [[nodiscard]] Status read_content_of(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);

  FoundDamage& damage_;
  UnreadSegments& unread_;
  RecordReader& records_;
  PatchReader& patches_;
};

}  // namespace vaultfs
