// A recovery point whose segment is damaged, and the same content written again: what heals the point stays, also when
// the working tree stops needing it.
#include <algorithm>
#include <filesystem>

#include "fs/restore/restore.h"
#include "fs/upkeep/compactor.h"
#include "store/index/segment_format.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class DamagedPointTest : public VaultEngineTest {
 protected:
  static constexpr std::uint64_t kDiskBytes = 6 * kMiB;

  // Closing makes no point of what the working tree has.
  [[nodiscard]] std::unique_ptr<VaultEngine> open_session() {
    VaultEngine::Options options = session_options();
    options.manual_commit = true;
    return VaultEngineTest::open_session(options);
  }
  void remove_index() {
    std::filesystem::remove_all(vault_path() / "index");
    std::filesystem::create_directory(vault_path() / "index");
  }

  // A point of vm/disk. The file of the segment that it needs.
  std::filesystem::path make_point() {
    const auto engine = open_session();
    tree_write(engine->tree(), tree_file(engine->tree(), "vm", "disk"), 0, disk_);
    EXPECT_TRUE(engine->commit("vm").ok());
    const auto manifest = engine->vault().load_manifest(engine->vault().catalogue().points().front());
    EXPECT_TRUE(manifest.ok());
    EXPECT_EQ(manifest->inventory.size(), 1U);
    EXPECT_TRUE(engine->close().ok());
    return vault_path() / closed_segment_name(manifest->inventory.front().number);
  }
  static std::size_t unreadable_chunks(VaultEngine& engine) {
    InodeNumber root;
    const auto tree = engine.open_point(engine.vault().catalogue().points().front(), root);
    EXPECT_TRUE(tree.ok());
    const auto disk = (*tree)->lookup(root, "disk");
    EXPECT_TRUE(disk.ok());
    std::size_t count = 0;
    Bytes chunk(kMiB);
    for (std::uint64_t at = 0; at < kDiskBytes; at += kMiB)
      count += (*tree)->read(disk->number, at, chunk).ok() ? 0 : 1;
    return count;
  }
  // The disk's content comes into a file of its own, with other things; then all goes.
  void write_again_and_remove(VaultEngine& engine) {
    tree_write(engine.tree(), tree_file(engine.tree(), "vm", "again"), 0, disk_);
    tree_write(engine.tree(), tree_file(engine.tree(), "vm", "other"), 0, random_bytes(2, 8 * kMiB));
    ASSERT_OK(engine.tree().sync_all());
    ASSERT_EQ(unreadable_chunks(engine), 0U);
    const auto item = engine.tree().lookup(kRootInode, "vm");
    ASSERT_OK(item);
    for (const char* name : {"disk", "again", "other"}) ASSERT_OK(engine.tree().unlink(item->number, name));
    ASSERT_OK(engine.tree().sync_all());
  }
  // Bytes that it removes.
  static std::uint64_t compact(VaultEngine& engine) {
    const std::uint64_t before = engine.vault().segments().stored_bytes();
    Compactor compactor(engine.vault(), engine.tree());
    const auto compacted = compactor.compact_now();
    EXPECT_TRUE(compacted.ok());
    EXPECT_TRUE(*compacted);
    return before - engine.vault().segments().stored_bytes();
  }
  void expect_restorable(VaultEngine& engine) {
    const auto to = scratch_ / "restored";
    ASSERT_OK(restore(engine.vault(), {"vm", "", "disk", to, true}, nullptr));
    EXPECT_TRUE(file_bytes(to) == disk_);
  }

  const Bytes disk_ = random_bytes(1, kDiskBytes);
};

TEST_F(DamagedPointTest, IsHealedByTheSameContentForAsLongAsItLives) {
  const auto segment = make_point();
  patch_file(segment, 5 * kMiB / 2, random_bytes(9, 16));
  {
    const auto engine = open_session();
    ASSERT_EQ(unreadable_chunks(*engine), 1U);
    ASSERT_NO_FATAL_FAILURE(write_again_and_remove(*engine));
    EXPECT_GT(compact(*engine), 8 * kMiB);
    ASSERT_NO_FATAL_FAILURE(expect_restorable(*engine));
    ASSERT_OK(engine->close());
  }
  for (const bool with_index : {true, false}) {
    if (!with_index) remove_index();
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    compact(*engine);
    EXPECT_EQ(unreadable_chunks(*engine), 0U) << "with index: " << with_index;
    ASSERT_NO_FATAL_FAILURE(expect_restorable(*engine));
    ASSERT_OK(engine->close());
  }
}

// Nothing tells what such a segment had, but the points themselves.
TEST_F(DamagedPointTest, IsHealedAlsoWhereTheWholeSegmentIsGone) {
  const auto segment = make_point();
  std::filesystem::remove(segment);
  remove_index();
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    ASSERT_EQ(unreadable_chunks(*engine), kDiskBytes / kMiB);
    ASSERT_NO_FATAL_FAILURE(write_again_and_remove(*engine));
    EXPECT_GT(compact(*engine), 7 * kMiB);
    ASSERT_OK(engine->close());
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  compact(*engine);
  ASSERT_NO_FATAL_FAILURE(expect_restorable(*engine));
  ASSERT_OK(engine->close());
}

}  // namespace
}  // namespace vaultfs
