#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/index/checked_records.h"
#include "store/index/chunk_index.h"
#include "store/index/record_map_cache.h"
#include "store/record/container.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// Up to this size a frame is opened again for each read of a piece of it: that costs less than to keep it.
inline constexpr std::uint32_t kPieceFrameBytes = 16U * 1024;

// One segment file opened for reading, with its cipher. Immutable and thread-safe.
class SegmentReader {
 public:
  // A segment's file, and how errors call it. `maps` must outlive the reader.
  struct Source {
    std::shared_ptr<File> file;
    ContainerNumber number;
    std::string name;
    RecordMapCache& maps;
  };
  SegmentReader(Source source, std::shared_ptr<const ContainerCipher> cipher, EpochNumber epoch);
  // Reads and checks the container's header. DamagedHeader, KeyCommitmentMismatch, EpochClosed, KeyRevoked.
  [[nodiscard]] static Result<std::shared_ptr<const SegmentReader>> open(Source source, const EpochKeys& keys);
  // That the segment is sealed under. What read(), read_piece() and frame_bytes() give is vouched for by its key, and
  // by nothing else.
  [[nodiscard]] EpochNumber epoch() const noexcept { return epoch_; }
  // Plaintext [offset, offset + out.size()) of the chunk at `place`; only the frames that this touches are read and
  // opened. DamagedRecord, AuthenticationFailed, ChunkMismatch (another record stands there), IoError. REQUIRES: the
  // range lies in the chunk.
  [[nodiscard]] Status read(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                            MutableByteView out) const;
  // Like SegmentStore::read_piece, within the chunk.
  [[nodiscard]] Result<std::uint32_t> read_piece(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                                                 MutableByteView out) const;
  // Size of the frames of the chunk at `place`. The errors of read().
  [[nodiscard]] Result<std::uint32_t> frame_bytes(const ChunkId& id, const ChunkPlace& place) const;
  // Whether the record at `place` says that it is the chunk's, by its header alone. The errors of read().
  [[nodiscard]] Status check_header(const ChunkId& id, const ChunkPlace& place) const;

  // The whole record in one look at the file: whoever recomputes its id keeps what he saw. The errors of read().
  // REQUIRES: plaintext.size() == place.plaintext_bytes.
  struct Whole {
    RecordMap map;
    ByteView stored;  // valid until this thread reads again, through any reader
  };
  [[nodiscard]] Result<Whole> read_record(const ChunkId& id, const ChunkPlace& place, MutableByteView plaintext) const;
  // As read(), of a record that was checked; AuthenticationFailed if what is read is not what was checked.
  [[nodiscard]] Status read_checked(const CheckedRecord& record, std::uint32_t offset, MutableByteView out) const;

 private:
  [[nodiscard]] Result<Whole> open_whole(const ChunkId& id, const ChunkPlace& place, MutableByteView out) const;
  // `checked`, if not null, is what each frame is compared with before it is opened.
  [[nodiscard]] Status read_part(const RecordMap& map, const ChunkPlace& place, std::uint32_t offset,
                                 MutableByteView out, const CheckedRecord* checked = nullptr) const;
  // The map of the record at `place`, which is checked to be the chunk's. `start` is the record's beginning, at least
  // header and frame table.
  [[nodiscard]] Result<RecordMap> decode_map(const ChunkId& id, const ChunkPlace& place, ByteView start) const;
  [[nodiscard]] Result<std::shared_ptr<const RecordMap>> map_of(const ChunkId& id, const ChunkPlace& place) const;
  // Opens what `out` wants from `offset` on. `stored` has the record's bytes from `stored_from` on.
  [[nodiscard]] Status open_frames(const RecordMap& map, ByteView stored, std::size_t stored_from, std::uint32_t offset,
                                   MutableByteView out) const;
  [[nodiscard]] Status read_exactly(std::uint64_t offset, MutableByteView out) const;

  const Source source_;
  const std::shared_ptr<const ContainerCipher> cipher_;
  const EpochNumber epoch_;
};

// The readers used last, so that descriptors and key schedules stay bounded. Thread-safe.
class SegmentReaderCache {
 public:
  explicit SegmentReaderCache(std::size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}
  [[nodiscard]] std::shared_ptr<const SegmentReader> find(ContainerNumber number);
  void insert(ContainerNumber number, std::shared_ptr<const SegmentReader> reader);
  void erase(ContainerNumber number);
  void clear();

 private:
  using Order = std::list<std::pair<ContainerNumber, std::shared_ptr<const SegmentReader>>>;
  const std::size_t capacity_;
  Mutex mutex_;                     // a leaf
  Order order_ GUARDED_BY(mutex_);  // most recently used first
  std::map<ContainerNumber, Order::iterator> by_number_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
