#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace vaultfs {

// What the journal says of one file's content, until the store is there and it can be laid over the extent map.
struct FileReplay {
  struct Fragment {
    Lsn lsn;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    Bytes bytes;  // empty: zeros
  };
  struct Chunk {
    std::optional<ChunkId> extent;    // replaces the map's entry
    std::vector<Fragment> fragments;  // oldest first, over the extent
  };
  std::map<std::uint64_t, Chunk> chunks;  // by index
  // What the checkpoint's extent map lost: [first, second) in chunk indexes, before anything in `chunks`.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> cleared;

  void write(Lsn lsn, std::uint64_t offset, ByteView bytes);
  void set_extent(std::uint64_t index, const ChunkId& id, Lsn covers);
  // Zeros in [begin, end); end may be beyond any file.
  void zero(Lsn lsn, std::uint64_t begin, std::uint64_t end);

 private:
  static void add(Chunk& chunk, Fragment fragment);
};

// State of a replay between load() and start().
struct ReplayState {
  std::map<InodeNumber, FileReplay> files;
  std::map<InodeNumber, Lsn> changed;       // newest change of each inode that was touched
  std::map<std::string, Lsn> item_changed;  // from the checkpoint
  Lsn last;
};

}  // namespace vaultfs
