#include "vaultmeta/points/manifest.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "crypto/hash.h"

namespace vaultfs {
namespace {

Error damaged(const std::string& what) { return {ErrorCode::DamagedManifest, "a recovery point's manifest " + what}; }

// How often each inode is named by a directory. Fails for an entry that names nothing.
Result<std::unordered_map<InodeNumber, std::uint64_t>> count_links(
    const Manifest& manifest, const std::unordered_map<InodeNumber, const InodeRecord*>& by_number) {
  std::unordered_map<InodeNumber, std::uint64_t> links;
  for (const InodeRecord& inode : manifest.inodes) {
    for (const auto& [name, child] : inode.entries) {
      if (!by_number.contains(child)) return damaged("names an inode that it does not have");
      ++links[child];
    }
  }
  return links;
}

Status check_tree(const Manifest& manifest) {
  std::unordered_map<InodeNumber, const InodeRecord*> by_number;
  for (std::size_t i = 0; i < manifest.inodes.size(); ++i) {
    const InodeRecord& inode = manifest.inodes[i];
    if (i > 0 && manifest.inodes[i - 1].number >= inode.number) return damaged("has inodes out of order");
    by_number.emplace(inode.number, &inode);
  }
  const auto root = by_number.find(manifest.root);
  if (root == by_number.end() || root->second->type != InodeType::directory) return damaged("has no root directory");

  VAULTFS_ASSIGN_OR_RETURN(auto links, count_links(manifest, by_number));
  for (const InodeRecord& inode : manifest.inodes) {
    const std::uint64_t found = links[inode.number];
    if (inode.type == InodeType::directory) {
      if (found != (inode.number == manifest.root ? 0U : 1U)) return damaged("has a directory with several places");
    } else if (found != inode.link_count) {
      return damaged("has an inode with a wrong link count");
    }
  }
  // Each directory has one parent now, but a ring of them could still hang beside the root.
  std::size_t reached = 0;
  std::vector<const InodeRecord*> open{root->second};
  while (!open.empty()) {
    const InodeRecord* directory = open.back();
    open.pop_back();
    ++reached;
    for (const auto& [name, child] : directory->entries) {
      const InodeRecord* inode = by_number.at(child);
      if (inode->type == InodeType::directory) open.push_back(inode);
    }
  }
  const auto directories = std::count_if(manifest.inodes.begin(), manifest.inodes.end(),
                                         [](const InodeRecord& inode) { return inode.type == InodeType::directory; });
  if (reached != static_cast<std::size_t>(directories)) return damaged("has directories outside its tree");
  return ok_status();
}

}  // namespace

Bytes Manifest::encode() const {
  ByteWriter writer;
  writer.u64(number.value);
  writer.text(item);
  writer.i64(created.value);
  writer.u64(cut.value);
  writer.u64(root.value);
  writer.id(sha256(encode_inventory()));
  writer.u32(static_cast<std::uint32_t>(inodes.size()));
  for (const InodeRecord& inode : inodes) inode.encode(writer);
  return std::move(writer).take();
}

Bytes Manifest::encode_inventory() const {
  ByteWriter writer;
  writer.u32(static_cast<std::uint32_t>(inventory.size()));
  for (const SegmentNeeded& segment : inventory) {
    writer.u64(segment.number.value);
    writer.u64(segment.file_bytes);
  }
  return std::move(writer).take();
}

Result<std::vector<Manifest::SegmentNeeded>> Manifest::decode_inventory(ByteView bytes) {
  ByteReader reader(bytes);
  std::vector<SegmentNeeded> segments(reader.count(16));
  for (std::size_t i = 0; i < segments.size(); ++i) {
    segments[i].number = ContainerNumber(reader.u64());
    segments[i].file_bytes = reader.u64();
    if (segments[i].number.value == 0) reader.fail();
    if (i > 0 && segments[i - 1].number >= segments[i].number) reader.fail();
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedManifest, "the inventory of a recovery point"));
  return segments;
}

Result<Manifest> Manifest::decode(ByteView sealed, ByteView inventory_bytes) {
  constexpr std::size_t kSmallestInode = 69;  // a fifo without attributes
  ByteReader reader(sealed);
  Manifest manifest;
  manifest.number = PointNumber(reader.u64());
  manifest.item = reader.text(kMaxNameBytes);
  manifest.created.value = reader.i64();
  manifest.cut = Lsn(reader.u64());
  manifest.root = InodeNumber(reader.u64());
  const auto inventory_digest = reader.id<Digest>();
  const std::uint32_t count = reader.count(kSmallestInode);
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) manifest.inodes.push_back(InodeRecord::decode(reader));
  if (manifest.number.value == 0 || manifest.item.empty()) reader.fail();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedManifest, "the manifest of a recovery point"));
  if (inventory_digest != sha256(inventory_bytes)) return damaged("does not fit its inventory");
  VAULTFS_ASSIGN_OR_RETURN(manifest.inventory, decode_inventory(inventory_bytes));
  VAULTFS_RETURN_IF_ERROR(check_tree(manifest));
  return manifest;
}

}  // namespace vaultfs
