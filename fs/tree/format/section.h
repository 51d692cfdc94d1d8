#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// Bytes of a file that no chunk holds yet.
struct SectionFragment {
  InodeNumber inode;
  std::uint64_t offset = 0;
  Bytes bytes;
};

// The working tree's part of a checkpoint: u8 version (1) ‖ u64 next inode number ‖ u32 count of items, each text name
// ‖ u64 LSN of its last change ‖ u32 count of inodes, each an inode (format.md, section 10.2), the root first ‖ u32
// count of fragments, each u64 inode ‖ u64 offset ‖ blob. Link counts in it are those of the names.
struct TreeSection {
  InodeNumber next_inode{2};
  struct ItemChange {
    std::string name;
    Lsn last_change;
  };
  std::vector<ItemChange> items;
  std::vector<InodeRecord> inodes;
  std::vector<SectionFragment> fragments;

  [[nodiscard]] Bytes encode() const;
  // DamagedCheckpoint; UnsupportedFormat for a version of a newer program.
  [[nodiscard]] static Result<TreeSection> decode(ByteView bytes);
};

}  // namespace vaultfs
