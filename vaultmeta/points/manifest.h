#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// What a recovery point consists of: the content of VAULT/points/N.point (docs/format.md, section 10). The inventory,
// the list of segments that the point needs, is also stored in the clear for keyless verification, and its digest is in
// the sealed part.
struct Manifest {
  PointNumber number;
  std::string item;
  UnixNanos created;
  Lsn cut;
  InodeNumber root;                 // the item's directory
  std::vector<InodeRecord> inodes;  // sorted by number; includes the root
  struct SegmentNeeded {
    ContainerNumber number;
    std::uint64_t file_bytes = 0;
    auto operator<=>(const SegmentNeeded&) const = default;
  };
  std::vector<SegmentNeeded> inventory;  // sorted

  [[nodiscard]] Bytes encode() const;            // the sealed part
  [[nodiscard]] Bytes encode_inventory() const;  // the clear part
  // Checks the tree too: one root, every entry names an inode that is there, link counts fit, no directory twice.
  // DamagedManifest.
  [[nodiscard]] static Result<Manifest> decode(ByteView sealed, ByteView inventory_bytes);
  [[nodiscard]] static Result<std::vector<SegmentNeeded>> decode_inventory(ByteView bytes);
};

}  // namespace vaultfs
