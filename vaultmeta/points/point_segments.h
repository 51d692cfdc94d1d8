#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/manifest.h"

namespace vaultfs {

// Works out which segments a point needs. Map pages are immutable, so what was found for one is remembered: the next
// point of a large image reads only the pages that changed, and looks up what these refer to. Thread-safe.
//
// Memory: 100 bytes or so a page.
class PointSegments {
 public:
  // What cannot be found or read is an error, or it is left out and told.
  enum class Damage : std::uint8_t { fails, skipped };
  explicit PointSegments(SegmentStore& segments, Damage damage = Damage::fails)
      : segments_(segments), damage_(damage) {}

  // The inventory of the inodes' content, sorted by number. TryAgain if not all of that lies in closed segments.
  // ChunkMissing and the errors of reading map pages and headers of patches. `skipped` is set if something was left
  // out.
  [[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> of(const std::vector<InodeRecord>& inodes, bool& skipped);
  [[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> of(const std::vector<InodeRecord>& inodes) {
    bool skipped = false;
    return of(inodes, skipped);
  }

  // Forgets what it remembers, after chunks have moved to other segments.
  void forget();

 private:
  static constexpr std::size_t kMaxPages = 1U << 17;  // 32 TiB of images
  using Numbers = std::vector<ContainerNumber>;

  using Needed = std::map<ContainerNumber, std::uint64_t>;

  [[nodiscard]] Result<Numbers> segments_of_page(const ChunkId& page, bool& skipped);
  // The segment of a chunk or map page; of a patch also that of its base.
  [[nodiscard]] Status add(const ChunkId& chunk, Needed& needed, bool& skipped);
  [[nodiscard]] Status add_strictly(const ChunkId& chunk, Needed& needed);
  // True: the error is one to pass over, and `skipped` is set.
  [[nodiscard]] bool skip(const Error& error, bool& skipped) const;

  SegmentStore& segments_;
  const Damage damage_;
  Mutex mutex_;  // a leaf
  std::unordered_map<ChunkId, Numbers> pages_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
