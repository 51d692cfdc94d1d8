#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_codec.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

inline constexpr std::uint32_t kChunkBytes = 1U << 20;
inline constexpr std::uint32_t kEntriesPerMapPage = 256;  // a page maps 256 MiB
inline constexpr std::uint64_t kMapPageSpanBytes = std::uint64_t{kEntriesPerMapPage} * kChunkBytes;
inline constexpr std::uint32_t kInlineChunks = 8;  // files of up to 8 MiB list their chunks themselves
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxTargetBytes = 4095;  // of a symlink (PATH_MAX without its NUL)
inline constexpr std::size_t kMaxAttributeValueBytes = std::size_t{64} * 1024;  // XATTR_SIZE_MAX
inline constexpr std::uint64_t kMaxFileBytes = 1ULL << 50;

enum class InodeType : std::uint8_t {
  file = 1,
  directory = 2,
  symlink = 3,
  fifo = 4,
  socket = 5,
  character_device = 6,
  block_device = 7
};

// One inode as stored in checkpoints and manifests (docs/format.md, section 10.2).
struct InodeRecord {
  InodeNumber number;
  InodeType type = InodeType::file;
  std::uint32_t mode = 0;  // permission, set-id and sticky bits only
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t link_count = 1;
  std::uint64_t rdev = 0;
  std::uint64_t size = 0;
  UnixNanos atime, mtime, ctime;
  // file: zero ids are holes. Either `chunks` (exactly one per started MiB, size ≤ 8 MiB) or `pages` (exactly one per
  // started 256 MiB, any size above zero); the other one is empty. Both are empty for an empty file.
  std::vector<ChunkId> chunks;
  std::vector<ChunkId> pages;
  std::string target;                                        // symlink
  std::vector<std::pair<std::string, InodeNumber>> entries;  // directory, sorted by name, without . and ..
  std::vector<std::pair<std::string, Bytes>> attributes;     // extended attributes, sorted by name

  void encode(ByteWriter& writer) const;
  // Leaves errors in the reader: fails it on any field out of range.
  [[nodiscard]] static InodeRecord decode(ByteReader& reader);
};

// A map page: the chunks of 256 MiB of one file, as stored in a record of type 2 (section 10.3). Zero ids are holes.
struct MapPage {
  static constexpr std::size_t kEncodedBytes = std::size_t{kEntriesPerMapPage} * ChunkId::kSize;

  std::vector<ChunkId> entries;  // kEntriesPerMapPage; encode() takes fewer for holes at the end
  [[nodiscard]] Bytes encode() const;
  // DamagedRecord.
  [[nodiscard]] static Result<MapPage> decode(ByteView bytes);
  [[nodiscard]] bool all_holes() const;
};

}  // namespace vaultfs
