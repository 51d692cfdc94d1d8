#pragma once

#include <cstdint>
#include <map>

#include "fs/content/byte_ranges.h"
#include "fs/content/extent_map.h"

namespace vaultfs {

// The chunks of one file for which fallocate has set space aside. One is counted until all that was asked for in it has
// been written, since an eviction before that makes it take space once more. Gone at the next mount.
//
// Guarded by the inode's mutex. Changed by SpacePromises, which counts over all files.
class SetAside {
 public:
  [[nodiscard]] bool empty() const noexcept { return chunks_.empty(); }
  // How many of the chunks [begin, end).
  [[nodiscard]] std::uint64_t count(std::uint64_t begin, std::uint64_t end) const;
  // What is still to be written of a chunk, if bytes [offset, end) of the file are wanted too.
  [[nodiscard]] ByteRanges rest(std::uint64_t index, std::uint64_t offset, std::uint64_t end) const;
  // What of it all is still to be written, in whole pages. `extents`: the file's.
  [[nodiscard]] std::uint64_t bytes(const ExtentMap& extents) const;

 private:
  friend class SpacePromises;

  void add(std::uint64_t begin, std::uint64_t end);
  // How many went.
  [[nodiscard]] std::uint64_t remove(std::uint64_t begin, std::uint64_t end);

  std::map<std::uint64_t, std::uint64_t> chunks_;  // first index → behind the last
  std::map<std::uint64_t, ByteRanges> rest_;       // what is still to be written, of chunks where that is not all
};

}  // namespace vaultfs
