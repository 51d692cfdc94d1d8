#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/thread/mutex.h"
#include "store/index/patch.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// Decoded headers of patches, so that a random read of a patched chunk opens the frames of its pages only. An id names
// one content for ever, so what gave the id never gets stale; a header that only the key of an epoch vouches for counts
// as long as that epoch is the current one. Thread-safe.
//
// Memory: at most 2 · kGeneration headers of about 150 bytes, 2.5 MB in all. Two generations: what is found in the
// older one moves to the younger; when that is full, it becomes the older and the older goes.
class PatchCache {
 public:
  // What vouches for a header: the patch's whole plaintext, which gave its id, or else an epoch.
  static constexpr EpochNumber kById{};
  [[nodiscard]] std::optional<PatchHeader> find(const ChunkId& id, const EpochKeys& keys);
  void insert(const ChunkId& id, const PatchHeader& header, EpochNumber vouched_by);
  void clear();

 private:
  static constexpr std::size_t kGeneration = 8192;
  struct Known {
    PatchHeader header;
    EpochNumber vouched_by;
  };
  void insert_locked(const ChunkId& id, const Known& known) REQUIRES(mutex_);

  Mutex mutex_;  // a leaf
  std::unordered_map<ChunkId, Known> young_ GUARDED_BY(mutex_);
  std::unordered_map<ChunkId, Known> old_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
