// A backup run, and what the mount does with the item's names and files meanwhile.
#include "fs/backup/backup_run.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class BackupMeanwhileTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }
  [[nodiscard]] std::filesystem::path image() const { return scratch_ / "disk.img"; }
  Result<BackupOutcome> backup() { return engine_->backup({"vm", {{"sda.raw", image()}}}, nullptr); }
  [[nodiscard]] Bytes point_bytes(const PointInfo& point, const std::string& name) {
    InodeNumber root;
    auto tree = engine_->open_point(point, root);
    EXPECT_TRUE(tree.ok());
    auto file = (*tree)->lookup(root, name);
    EXPECT_TRUE(file.ok()) << name;
    return file.ok() ? tree_bytes(**tree, file->number) : Bytes{};
  }

  std::unique_ptr<VaultEngine> engine_;
};

// A reservation keeps writers away, not who moves names. What was read is in the point under its name all the same.
TEST_F(BackupMeanwhileTest, ADiskThatIsMovedAwayMeanwhileIsInThePoint) {
  for (const bool changed : {false, true}) {
    const Bytes before = random_bytes(1, 3 * kMiB);
    write_file(image(), before);
    ASSERT_OK(backup());
    if (changed) patch_file(image(), 10, random_bytes(2, 100));
    const Bytes content = file_bytes(image());
    const InodeNumber item = engine_->tree().lookup(kRootInode, "vm")->number;
    bool done = false;
    const auto outcome = engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress&) {
      if (std::exchange(done, true)) return true;
      EXPECT_TRUE(engine_->tree().rename(item, "sda.raw", item, "old.raw", WorkingTree::RenameMode::replace).ok());
      return true;
    });
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->commit.point.has_value());
    EXPECT_TRUE(point_bytes(*outcome->commit.point, "sda.raw") == content);
    EXPECT_TRUE(point_bytes(*outcome->commit.point, "old.raw") == before);
  }
}

TEST_F(BackupMeanwhileTest, AFileInThePlaceOfADiskThatWasRemovedIsLeftAlone) {
  write_file(image(), random_bytes(1, 3 * kMiB));
  ASSERT_OK(backup());
  patch_file(image(), 10, random_bytes(2, 100));
  const InodeNumber item = engine_->tree().lookup(kRootInode, "vm")->number;
  bool done = false;
  const auto outcome = engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress&) {
    if (std::exchange(done, true)) return true;
    EXPECT_TRUE(engine_->tree().unlink(item, "sda.raw").ok());
    tree_write(engine_->tree(), tree_file(engine_->tree(), "vm", "sda.raw"), 0, random_bytes(5, 10));
    return true;
  });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::ItemBusy);
  const auto entries = engine_->tree().list(item);
  ASSERT_OK(entries);
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().name, "sda.raw");
  EXPECT_EQ(tree_bytes(engine_->tree(), entries->front().number), random_bytes(5, 10));
}

// Written in the mount, and still in memory: what is stored of the disk is as it was, and what it has is not.
TEST_F(BackupMeanwhileTest, AChangeThatIsStillInMemoryIsAChange) {
  const Bytes content = random_bytes(1, 3 * kMiB);
  write_file(image(), content);
  ASSERT_OK(backup());
  tree_write(engine_->tree(), tree_file(engine_->tree(), "vm", "sda.raw"), 100, random_bytes(5, 10));
  const auto outcome = backup();
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->commit.point.has_value());
  EXPECT_TRUE(point_bytes(*outcome->commit.point, "sda.raw") == content);
}

}  // namespace
}  // namespace vaultfs
