#include "vaultmeta/points/manifest.h"

#include <gtest/gtest.h>

#include "tests/vaultmeta/stored_form_checks.h"

namespace vaultfs {
namespace {

InodeRecord a_manifest_inode(std::uint64_t number, InodeType type) {
  InodeRecord inode;
  inode.number = InodeNumber(number);
  inode.type = type;
  inode.mode = 0644;
  return inode;
}

// 2 ── disk.img (3), also named hard (3), sub (4) ── pipe (5)
Manifest a_manifest() {
  Manifest manifest;
  manifest.number = PointNumber(9);
  manifest.item = "vm1";
  manifest.created = UnixNanos{12345};
  manifest.cut = Lsn(99);
  manifest.root = InodeNumber(2);
  InodeRecord root = a_manifest_inode(2, InodeType::directory);
  root.entries = {{"disk.img", InodeNumber(3)}, {"hard", InodeNumber(3)}, {"sub", InodeNumber(4)}};
  InodeRecord disk = a_manifest_inode(3, InodeType::file);
  disk.link_count = 2;
  disk.size = 5;
  disk.chunks.resize(1);
  InodeRecord sub = a_manifest_inode(4, InodeType::directory);
  sub.entries = {{"pipe", InodeNumber(5)}};
  manifest.inodes = {root, disk, sub, a_manifest_inode(5, InodeType::fifo)};
  manifest.inventory = {{ContainerNumber(1), 4096}, {ContainerNumber(3), 777}};
  return manifest;
}

ErrorCode outcome(const Manifest& manifest) {
  const auto decoded = Manifest::decode(manifest.encode(), manifest.encode_inventory());
  return decoded.ok() ? ErrorCode::Internal : decoded.code();  // Internal stands for success
}
constexpr ErrorCode kGood = ErrorCode::Internal;

TEST(Manifest, StoredForm) {
  const Manifest manifest = a_manifest();
  const Bytes inventory = manifest.encode_inventory();
  check_stored_form(manifest.encode(), [&](ByteView bytes) -> std::optional<Bytes> {
    const auto decoded = Manifest::decode(bytes, inventory);
    if (!decoded.ok()) {
      EXPECT_EQ(decoded.code(), ErrorCode::DamagedManifest);
      return std::nullopt;
    }
    return decoded->encode();
  });
  const auto decoded = Manifest::decode(manifest.encode(), inventory);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->item, "vm1");
  EXPECT_EQ(decoded->cut, Lsn(99));
  EXPECT_EQ(decoded->inventory, manifest.inventory);
}

TEST(Manifest, InventoryIsBoundToTheSealedPart) {
  const Manifest manifest = a_manifest();
  const Bytes sealed = manifest.encode();
  const Bytes inventory = manifest.encode_inventory();
  for (std::size_t bit = 0; bit < inventory.size() * 8; ++bit) {
    Bytes flipped = inventory;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_EQ(Manifest::decode(sealed, flipped).code(), ErrorCode::DamagedManifest);
  }
  EXPECT_EQ(Manifest::decode(sealed, {}).code(), ErrorCode::DamagedManifest);
}

TEST(Manifest, InventoryIsSortedAndWhole) {
  Manifest manifest = a_manifest();
  check_stored_form(manifest.encode_inventory(), [](ByteView bytes) -> std::optional<Bytes> {
    auto segments = Manifest::decode_inventory(bytes);
    if (!segments.ok()) return std::nullopt;
    Manifest other;
    other.inventory = std::move(*segments);
    return other.encode_inventory();
  });
  std::swap(manifest.inventory[0], manifest.inventory[1]);
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest.inventory = {{ContainerNumber(0), 1}};
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest.inventory.clear();
  EXPECT_EQ(outcome(manifest), kGood);
}

TEST(Manifest, RefusesWhatIsNoTree) {
  ASSERT_EQ(outcome(a_manifest()), kGood);

  Manifest manifest = a_manifest();
  manifest.root = InodeNumber(3);  // a file
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest.root = InodeNumber(8);  // nothing
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest.root = InodeNumber(4);  // not the top
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  manifest.inodes[0].entries[0].second = InodeNumber(6);  // an entry without its inode
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  manifest.inodes[1].link_count = 1;
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  manifest.inodes.push_back(a_manifest_inode(7, InodeType::fifo));  // an inode without a name
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  manifest.inodes[2].entries.emplace_back("up", InodeNumber(4));  // a directory inside itself
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  InodeRecord first = a_manifest_inode(7, InodeType::directory);
  InodeRecord second = a_manifest_inode(8, InodeType::directory);
  first.entries = {{"x", InodeNumber(8)}};
  second.entries = {{"x", InodeNumber(7)}};
  manifest.inodes.push_back(first);  // a ring beside the tree: each directory has one name
  manifest.inodes.push_back(second);
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);

  manifest = a_manifest();
  std::swap(manifest.inodes[1], manifest.inodes[2]);
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest = a_manifest();
  manifest.inodes.push_back(manifest.inodes.back());
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest = a_manifest();
  manifest.item.clear();
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
  manifest = a_manifest();
  manifest.number = PointNumber(0);
  EXPECT_EQ(outcome(manifest), ErrorCode::DamagedManifest);
}

}  // namespace
}  // namespace vaultfs
