#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "fs/tree/format/root_inode.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// What stat shows of an inode.
struct Attributes {
  InodeNumber number;
  InodeType type = InodeType::file;
  std::uint32_t mode = 0;  // permission, set-id and sticky bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t link_count = 1;
  std::uint64_t rdev = 0;
  std::uint64_t size = 0;
  std::uint64_t allocated_bytes = 0;  // content that is not a hole, in whole 4 KiB pages or chunks
  UnixNanos atime, mtime, ctime;
  bool open_for_writing = false;
  bool stored = true;  // nothing of this changes without a call that changes the inode: no content waits to be stored
};

// What a chmod, chown, truncate or utimensat changes; what is not given stays. Truncation has its own call.
struct AttributeChange {
  std::optional<std::uint32_t> mode;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<UnixNanos> atime;
  std::optional<UnixNanos> mtime;
  std::optional<UnixNanos> ctime;  // only a writeback cache knows better than the clock
};

struct DirectoryEntry {
  std::string name;
  InodeNumber number;
  InodeType type = InodeType::file;
};

}  // namespace vaultfs
