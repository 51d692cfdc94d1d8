#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "store/chunk_index.h"

namespace vaultfs {

// The chunk that each patch lies over, so that whoever follows references need not read the patches' headers. An id
// names one content for ever: nothing here gets stale, at worst it is about patches that are gone. Thread-safe.
//
// Memory: some 64 bytes a patch, 32 MiB at most; a vault with more patches reads headers.
class PatchBases {
 public:
  using Key = ChunkIndex::Key;
  static constexpr std::size_t kMost = 1U << 19;  // one more, and all are forgotten

  // The base; all zero for a patch over a hole. Nothing: not known.
  [[nodiscard]] std::optional<Key> find(const Key& patch) const;
  void insert(const Key& patch, const Key& base);

 private:
  // Ids are keyed hashes: a part of one is as good as a hash of it.
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept;
  };

  mutable std::mutex mutex_;  // guards bases_; a leaf
  std::unordered_map<Key, Key, Hash> bases_;
};

}  // namespace vaultfs
