#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment_store.h"
#include "vaultmeta/manifest.h"

namespace vaultfs {

// Works out which segments a point needs. Map pages are immutable, so what was found for one is remembered: the next
// point of a large image reads only the pages that changed, and looks up what these refer to. Thread-safe.
//
// Memory: 100 bytes or so a page.
class PointSegments {
 public:
  // What cannot be found or read is an error, or it is left out and told by take_skipped(): then from one thread only.
  enum class Damage : std::uint8_t { fails, skipped };
  explicit PointSegments(SegmentStore& segments, Damage damage = Damage::fails)
      : segments_(segments), damage_(damage) {}

  // The inventory of the inodes' content, sorted by number. REQUIRES: the content lies in closed segments.
  // ChunkMissing and the errors of reading map pages and headers of patches.
  [[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> of(const std::vector<InodeRecord>& inodes);

  // Whether something was left out since the last call.
  [[nodiscard]] bool take_skipped() { return skipped_.exchange(false); }

  // Forgets what it remembers, after chunks have moved to other segments.
  void forget();

 private:
  static constexpr std::size_t kMaxPages = 1U << 17;  // 32 TiB of images
  using Numbers = std::vector<ContainerNumber>;

  [[nodiscard]] Result<Numbers> segments_of_page(const ChunkId& page);
  // The segment of a chunk or map page; of a patch also that of its base.
  [[nodiscard]] Status add(const ChunkId& chunk, std::map<ContainerNumber, std::uint64_t>& needed);
  [[nodiscard]] Status add_strictly(const ChunkId& chunk, std::map<ContainerNumber, std::uint64_t>& needed);
  // True: the error is one to pass over, and was noted.
  [[nodiscard]] bool skip(const Error& error);

  SegmentStore& segments_;
  const Damage damage_;
  std::atomic<bool> skipped_{false};
  std::mutex mutex_;  // guards pages_; a leaf
  std::unordered_map<ChunkId, Numbers> pages_;
};

}  // namespace vaultfs
