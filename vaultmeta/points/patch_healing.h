#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/manifest.h"

namespace vaultfs {

// Heals damaged patches. A backup that brings the content of a patched chunk brings the whole of it, which has another
// id. So where recovery points have a damaged patch, what newer ones have at the same place of a file is looked at: if
// the patch made of that has the damaged one's id, it is stored anew (docs/decisions/0018-damage.md). One thread.
//
// Memory: 100 bytes or so for a damaged patch, and for each content that it was compared with.
class PatchHealing {
 public:
  explicit PatchHealing(SegmentStore& segments) : segments_(segments) {}

  // Shows all recovery points to what it is given; an error ends it.
  using Points = std::function<Status(const std::function<Status(const Manifest&)>& show)>;
  // Stores anew what it can of `damaged`. `points` is asked for all points if one of them is new to it, `newer` are
  // those whose content may be what was lost. The errors of putting, and of disk and keys.
  [[nodiscard]] Status heal(const std::set<ChunkIndex::Key>& damaged, const Points& points, const Points& newer);

 private:
  using Entry = std::function<Status(std::uint64_t index, const ChunkId& id)>;
  // The chunks of all files, by their place in the file; of map pages only those that `wanted` says, once each.
  [[nodiscard]] Status walk(const Manifest& manifest, const std::function<bool(std::uint64_t page)>& wanted,
                            std::set<std::pair<std::uint64_t, ChunkId>>& walked, const Entry& visit);
  [[nodiscard]] Status find_places(const std::set<ChunkIndex::Key>& damaged, const Points& points);
  // What is known to be at the places of a damaged patch.
  [[nodiscard]] Status try_content(const ChunkId& patch, const ChunkId& content);

  SegmentStore& segments_;
  std::set<ChunkIndex::Key> looked_for_;
  std::map<std::uint64_t, std::set<ChunkId>> places_;  // by MiB of the file: damaged patches that points have there
  std::set<std::pair<ChunkId, ChunkId>> tried_;
};

}  // namespace vaultfs
