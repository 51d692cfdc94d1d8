#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "fs/tree/attributes.h"

namespace vaultfs {

// Reading a tree of files: the working tree, or a recovery point. Thread-safe.
class FileTree {
 public:
  virtual ~FileTree() = default;
  [[nodiscard]] virtual Result<Attributes> lookup(InodeNumber parent,
                                                  const std::string& name) = 0;  // NotFound, NotADirectory
  [[nodiscard]] virtual Result<Attributes> attributes(InodeNumber inode) = 0;
  // The directory that a directory is in; of the tree's root NotFound. For who has a number and no name.
  [[nodiscard]] virtual Result<InodeNumber> parent(InodeNumber directory) = 0;
  // All entries without "." and "..", in a stable order.
  [[nodiscard]] virtual Result<std::vector<DirectoryEntry>> list(InodeNumber directory) = 0;
  [[nodiscard]] virtual Result<std::string> read_link(InodeNumber inode) = 0;
  // Of everything in the tree, in no order.
  [[nodiscard]] virtual std::vector<InodeNumber> inode_numbers() = 0;
  // An extended attribute; NoData if there is none of that name. All their names, sorted.
  [[nodiscard]] virtual Result<Bytes> extended_attribute(InodeNumber inode, const std::string& name) = 0;
  [[nodiscard]] virtual Result<std::vector<std::string>> extended_names(InodeNumber inode) = 0;
  // Reads at most out.size() bytes; fewer only at the end of the file. Holes are zeros. The integrity errors of
  // SegmentStore::read.
  [[nodiscard]] virtual Result<std::size_t> read(InodeNumber inode, std::uint64_t offset, MutableByteView out) = 0;
  // SEEK_DATA / SEEK_HOLE. OutOfRange at or after the end of the file (and for data, where only holes follow).
  [[nodiscard]] virtual Result<std::uint64_t> seek_data(InodeNumber inode, std::uint64_t offset) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> seek_hole(InodeNumber inode, std::uint64_t offset) = 0;
  // The chunk stored at a file's chunk index, if all of that chunk is stored in a segment: lets restore and backup
  // work by reference. Zero id: a hole. Nothing: (partly) in the write buffer.
  [[nodiscard]] virtual Result<std::optional<ChunkId>> chunk_at(InodeNumber inode, ChunkIndexInFile index) = 0;
};

// The inode of a path below `root` ("a/b/c"; empty = root itself), not following symbolic links. NotFound,
// NotADirectory.
[[nodiscard]] Result<Attributes> resolve_path(FileTree& tree, InodeNumber root, std::string_view path);

}  // namespace vaultfs
