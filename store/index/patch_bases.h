#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// The chunk that each patch lies over, so that whoever follows references need not read the patches' headers. An id
// names one content for ever: nothing here gets stale, at worst it is about patches that are gone. What only the key of
// an epoch vouches for (the header of a record that was not read whole, an index file) counts as long as that epoch is
// the current one. Thread-safe.
//
// Memory: some 64 bytes a patch, 32 MiB at most; a vault with more patches reads headers.
class PatchBases {
 public:
  using Key = ChunkIndex::Key;
  static constexpr std::size_t kMost = 1U << 19;  // one more, and all are forgotten

  // The base; all zero for a patch over a hole. Nothing: not known.
  [[nodiscard]] std::optional<Key> find(const Key& patch) const;
  // The patch's whole plaintext, which gave its id, says so.
  void insert(const Key& patch, const Key& base);
  // So says something that was sealed under `epoch`. Nothing is taken in unless keep_for() was told that it is current.
  void insert(const Key& patch, const Key& base, EpochNumber epoch);
  // Forgets what another epoch than the current one vouches for.
  void keep_for(const EpochKeys& keys);

 private:
  // Ids are keyed hashes: a part of one is as good as a hash of it.
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  using Table = std::unordered_map<Key, Key, Hash>;
  void insert_locked(Table& table, const Key& patch, const Key& base) REQUIRES(mutex_);

  mutable Mutex mutex_;  // a leaf, but for the keys'
  Table by_id_ GUARDED_BY(mutex_);
  Table by_epoch_ GUARDED_BY(mutex_);
  EpochNumber epoch_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
