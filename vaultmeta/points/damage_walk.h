#pragma once

#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/catalogue/known_damage.h"
#include "vaultmeta/points/manifest.h"

namespace vaultfs {

// Finds where in the files of recovery points something is wrong. What was found in a map page is remembered, so that
// many points of one image cost little more than one. One thread.
//
// Memory: 100 bytes or so for a damaged chunk of a page, and 40 a page.
class DamageWalk {
 public:
  // Why a record, or what it lies over, is not to be read; nothing: it is. Not called for holes.
  using Look = std::function<std::optional<Error>(RecordType type, const ChunkId& id)>;

  DamageWalk(SegmentStore& segments, Look look) : segments_(segments), look_(std::move(look)) {}

  // By file in the order of the manifest, ascending. The errors of reading map pages that are not of integrity or I/O.
  [[nodiscard]] Result<std::vector<DamagedRange>> walk(const Manifest& manifest);
  // Whether anything was met that look() has something to say of.
  [[nodiscard]] Result<bool> meets_any(const Manifest& manifest);

 private:
  static constexpr std::size_t kMaxPages = 1U << 17;  // 32 TiB of images
  struct Place {
    std::uint32_t index;  // in the page
    Error error;
  };
  struct Page {
    std::optional<Error> unreadable;
    std::vector<Place> damaged;
  };
  [[nodiscard]] Result<const Page*> look_at_page(const ChunkId& id);
  [[nodiscard]] Status walk_file(const InodeRecord& inode, std::vector<DamagedRange>& ranges);

  SegmentStore& segments_;
  const Look look_;
  std::unordered_map<ChunkId, Page> pages_;
};

// A look by what is known: a record that is marked or in no segment, or lies over such a one. Reads nothing but headers
// of patches.
[[nodiscard]] std::optional<Error> look_at_marks(SegmentStore& segments, const ChunkId& id);

}  // namespace vaultfs
