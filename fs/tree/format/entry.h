#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/byte_codec.h"
#include "base/clock.h"
#include "base/ids.h"
#include "vaultmeta/points/inode_record.h"

// The working tree's journal entries: a u8 version (2), u32 count, then that many changes, each a u8 kind, the u32
// length of its fields, and its fields in the order below (version 1, read only: without the length). An entry is
// applied as a whole or not at all; applying it twice is harmless. Link counts are not stored: they follow from the
// names. Changes of inodes that do not exist (their last name and handle went before) are ignored.
namespace vaultfs {

// kind 1: a new inode without a name.
struct CreateInode {
  InodeNumber number;
  InodeType type = InodeType::file;
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::uint64_t rdev = 0;
  UnixNanos time;      // atime, mtime, ctime
  std::string target;  // symlink
};
// kind 2
struct SetAttributes {
  InodeNumber number;
  std::uint32_t mode = 0, uid = 0, gid = 0;
  UnixNanos atime, mtime, ctime;
};
// kind 3: a name for an inode; replaces what had that name.
struct LinkName {
  InodeNumber directory;
  std::string name;
  InodeNumber inode;
};
// kind 4
struct UnlinkName {
  InodeNumber directory;
  std::string name;
};
// kind 5: bytes of a file that lie over its chunk until a SetExtent with `covers` at or above this entry's LSN.
struct WriteFragment {
  InodeNumber number;
  Lsn changed;  // the inode's change that this belongs to
  std::uint64_t offset = 0;
  ByteView bytes;  // within one chunk
};
// kind 6: a chunk of the file, zero for a hole, that contains every fragment of it with an LSN <= covers.
struct SetExtent {
  InodeNumber number;
  Lsn changed;
  std::uint64_t index = 0;
  ChunkId id;
  Lsn covers;
};
// kind 7: nothing is left at and after `size`; size = min(size, this).
struct CutContent {
  InodeNumber number;
  std::uint64_t size = 0;
};
// kind 8: zeros; whole chunks become holes.
struct ZeroRange {
  InodeNumber number;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
// kind 9: the file has grown; what was not written reads as zeros.
struct GrowFile {
  InodeNumber number;
  Lsn changed;
  std::uint64_t size = 0;
};
// kind 10: a snapshot was cut here, so that later changes have higher LSNs.
struct SnapshotMark {};
// kind 11: an extended attribute has this value. POSIX ACLs are among them (system.posix_acl_*).
struct SetExtended {
  InodeNumber number;
  std::string name;
  ByteView value;
};
// kind 12
struct RemoveExtended {
  InodeNumber number;
  std::string name;
};

using TreeChange = std::variant<CreateInode, SetAttributes, LinkName, UnlinkName, WriteFragment, SetExtent, CutContent,
                                ZeroRange, GrowFile, SnapshotMark, SetExtended, RemoveExtended>;

class TreeEntryWriter {
 public:
  // `expected_bytes`: of the values of what will be added, if they are large.
  explicit TreeEntryWriter(std::size_t expected_bytes = 0);
  void add(const TreeChange& change);
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] Bytes take() &&;

 private:
  ByteWriter bytes_;
  std::uint32_t count_ = 0;
};

// JournalDamaged; UnsupportedFormat for a version, or a change of a kind, that is not known. Fragments and values point
// into `entry`.
[[nodiscard]] Result<std::vector<TreeChange>> decode_tree_entry(ByteView entry);

}  // namespace vaultfs
