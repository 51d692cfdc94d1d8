#pragma once

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
// point of a large image reads only the pages that changed. Thread-safe.
class PointSegments {
 public:
  explicit PointSegments(SegmentStore& segments) : segments_(segments) {}

  // The inventory of the inodes' content, sorted by number. REQUIRES: the content lies in closed segments.
  // ChunkMissing and the errors of reading map pages and headers of patches.
  [[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> of(const std::vector<InodeRecord>& inodes);

  // Forgets what it remembers, after chunks have moved to other segments.
  void forget();

 private:
  static constexpr std::size_t kMaxPages = 1U << 17;  // 32 TiB of images
  using Numbers = std::vector<ContainerNumber>;

  [[nodiscard]] Result<Numbers> segments_of_page(const ChunkId& page);
  // The segment of a chunk or map page; of a patch also that of its base.
  [[nodiscard]] Status add(const ChunkId& chunk, std::map<ContainerNumber, std::uint64_t>& needed);

  SegmentStore& segments_;
  std::mutex mutex_;  // guards pages_; a leaf
  std::unordered_map<ChunkId, Numbers> pages_;
};

}  // namespace vaultfs
