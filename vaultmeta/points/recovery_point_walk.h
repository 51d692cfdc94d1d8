#pragma once

#include <functional>
#include <unordered_set>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/manifest.h"

namespace vaultfs {

// Goes through everything that recovery points refer to: map pages, then the chunks and patches that they list (not the
// bases of patches). A page that was gone through to its end is not looked at again, in whatever point it is met, so
// that many points of one image cost little more than one. One thread.
class RecoveryPointWalk {
 public:
  // An error ends the walk.
  using Visit = std::function<Status(const ChunkId&)>;
  // A map page can't be read: what it lists is not visited.
  using Damaged = std::function<void(const ChunkId& page, const Error& error)>;

  RecoveryPointWalk(SegmentStore& segments, Visit visit, Damaged damaged)
      : segments_(segments), visit_(std::move(visit)), damaged_(std::move(damaged)) {}

  // The errors of `visit`; those of reading pages that are not of integrity or I/O.
  [[nodiscard]] Status walk(const Manifest& manifest);

 private:
  static constexpr std::size_t kMaxPages = 1U << 17;  // 32 TiB of images
  [[nodiscard]] Status walk_page(const ChunkId& page);

  SegmentStore& segments_;
  const Visit visit_;
  const Damaged damaged_;
  std::unordered_set<ChunkId> pages_;
};

}  // namespace vaultfs
