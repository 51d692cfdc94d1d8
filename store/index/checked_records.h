#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/aead.h"
#include "store/index/chunk_index.h"
#include "store/index/record_map_cache.h"

namespace vaultfs {

// A record of a closed DEK epoch whose whole content gave its ChunkId. Whoever once had that epoch's key can seal other
// bytes in its place at any time, so what a later read opens is first compared with what was opened then. Immutable.
struct CheckedRecord {
  using Tag = std::array<std::byte, kAeadTagBytes>;
  ChunkPlace place;  // with the type and the length that gave the id
  RecordMap map;     // as it was then
  std::shared_ptr<const Aead> tagger;
  std::uint64_t serial = 0;  // of the nonces
  std::vector<Tag> tags;     // one a frame

  // AuthenticationFailed unless `sealed` is what frame `frame` of the record was then.
  [[nodiscard]] Status compare(std::uint32_t frame, ByteView sealed) const;
};

// The records that were checked last, for reads of parts of them: a tag over each frame as it is stored, under a key
// that only this object has and that goes with it (docs/decisions/0014-closed-epochs.md has why it is no SHA-256 of the
// leaves). Thread-safe.
//
// Memory: `most_bytes`, of which a chunk takes 4 KB if it does not compress, else a tenth of that. What goes out first
// was used longest ago.
class CheckedRecords {
 public:
  CheckedRecords(Env& env, std::size_t most_bytes) : env_(env), most_bytes_(most_bytes) {}

  // Null if it is not kept. The caller compares its place with the one that he looks at.
  [[nodiscard]] std::shared_ptr<const CheckedRecord> find(const ChunkId& id);
  // Keeps a record whose id was just recomputed. `stored` are the very bytes of the file that were opened for that.
  // MemoryLockFailed.
  [[nodiscard]] Result<std::shared_ptr<const CheckedRecord>> keep(const ChunkId& id, const ChunkPlace& place,
                                                                  RecordMap map, ByteView stored);
  // Also the key: what somebody still holds is of use until he lets it go.
  void clear();
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  using Kept = std::pair<ChunkId, std::shared_ptr<const CheckedRecord>>;
  // The tagger, and a serial number for it.
  [[nodiscard]] Status prepare(CheckedRecord& record) EXCLUDES(mutex_);
  void drop(std::list<Kept>::iterator kept) REQUIRES(mutex_);

  Env& env_;
  const std::size_t most_bytes_;
  mutable Mutex mutex_;  // a leaf
  std::shared_ptr<const Aead> tagger_ GUARDED_BY(mutex_);
  std::uint64_t last_serial_ GUARDED_BY(mutex_) = 0;
  std::list<Kept> order_ GUARDED_BY(mutex_);  // most recently used first
  std::unordered_map<ChunkId, std::list<Kept>::iterator> by_id_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
