#pragma once

#include <vector>

#include "base/ids.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// An item as it was at one moment.
struct TreeSnapshot {
  InodeNumber root;
  Lsn cut;                          // entries with a lower LSN are in the snapshot
  std::vector<InodeRecord> inodes;  // sorted by number; unreachable (unlinked but open) inodes are left out
  bool open_for_writing = false;    // some file was open for writing at the cut
  std::uint64_t logical_bytes = 0;
};

}  // namespace vaultfs
