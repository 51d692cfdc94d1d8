#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "store/patch.h"

namespace vaultfs {

// Decoded headers of patches, so that a random read of a patched chunk opens the frames of its pages only. An id names
// one content for ever, so nothing here gets stale. Thread-safe.
//
// Memory: at most 2 · kGeneration headers of about 150 bytes, 2.5 MB in all. Two generations: what is found in the
// older one moves to the younger; when that is full, it becomes the older and the older goes.
class PatchCache {
 public:
  [[nodiscard]] std::optional<PatchHeader> find(const ChunkId& id);
  void insert(const ChunkId& id, const PatchHeader& header);
  void clear();

 private:
  static constexpr std::size_t kGeneration = 8192;
  void insert_locked(const ChunkId& id, const PatchHeader& header);

  std::mutex mutex_;  // guards both below; a leaf
  std::unordered_map<ChunkId, PatchHeader> young_;
  std::unordered_map<ChunkId, PatchHeader> old_;
};

}  // namespace vaultfs
