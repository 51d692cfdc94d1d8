// A guest can nest directories as deep as it likes: what it costs to take them out again is neither stack nor
// descriptors.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/files/file_descriptor.h"
#include "fs/restore/restore.h"
#include "fs/restore/restore_staging.h"
#include "tests/fs/engine/engine_fixture.h"

namespace vaultfs {
namespace {

// Far more than descriptors; in the long form more than the stack would take, too.
const std::size_t kLevels = std::getenv("VAULTFS_TEST_LONG") != nullptr ? 60'000 : 6'000;

// Fewer descriptors than the tree has levels, for the length of a scope.
class FewDescriptors {
 public:
  FewDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const struct rlimit few { 256, before_.rlim_max };
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  struct rlimit before_ {};
};

class DeepTreeTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
    std::filesystem::create_directory(scratch_ / "out");
    out_ = FileDescriptor(::open((scratch_ / "out").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(out_.valid());
  }
  void TearDown() override {
    remove_tree(out_.get(), "d");
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }
  // "d/d/…/d" in the item, a file in the last of them that has names at the top and in the middle too.
  void make_deep_item() {
    WorkingTree& tree = engine_->tree();
    const InodeNumber file = tree_file(tree, "vm", "top");
    tree_write(tree, file, 0, random_bytes(1, 5000));
    InodeNumber at = tree.lookup(kRootInode, "vm")->number;
    for (std::size_t i = 1; i <= kLevels; ++i) {
      const auto made = tree.make_directory(at, "d", 0711, {});
      ASSERT_OK(made);
      at = made->number;
      if (i != kLevels / 2 && i != kLevels) continue;
      ASSERT_OK(tree.make_link(file, at, "linked"));
    }
    ASSERT_OK(engine_->commit("vm"));
  }
  Result<RestoreOutcome> restore_all(bool force = false) {
    return restore(engine_->vault(), {.item = "vm", .point = "", .disk = "", .to = scratch_ / "out", .force = force},
                   nullptr);
  }
  // The restored tree is all there.
  void check_restored() {
    struct stat top {};
    ASSERT_EQ(::fstatat(out_.get(), "top", &top, AT_SYMLINK_NOFOLLOW), 0);
    EXPECT_EQ(top.st_nlink, 3U);
    FileDescriptor at(::fcntl(out_.get(), F_DUPFD_CLOEXEC, 0));
    for (std::size_t i = 1; i <= kLevels; ++i) {
      struct stat st {};
      at = FileDescriptor(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      ASSERT_TRUE(at.valid()) << i;
      if (i != kLevels / 2 && i != kLevels) continue;
      ASSERT_EQ(::fstatat(at.get(), "linked", &st, AT_SYMLINK_NOFOLLOW), 0) << i;
      EXPECT_EQ(st.st_ino, top.st_ino) << i;
    }
    struct stat last {};
    ASSERT_EQ(::fstat(at.get(), &last), 0);
    EXPECT_EQ(last.st_mode & 07777U, 0711U);
  }

  std::unique_ptr<VaultEngine> engine_;
  FileDescriptor out_;
};

TEST_F(DeepTreeTest, ComesBackWithItsLinksAndGoesAgain) {
  make_deep_item();
  const FewDescriptors few;
  const auto outcome = restore_all();
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->files, 1U);
  check_restored();
  // What was there before is as deep, and goes.
  ASSERT_OK(restore_all(true));
  check_restored();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(scratch_ / "out"))
    names.push_back(entry.path().filename());
  EXPECT_EQ(names.size(), 2U);
  // By name, and by none: one file, with three names.
  const auto one =
      restore(engine_->vault(), {.item = "vm", .point = "", .disk = "top", .to = scratch_ / "one"}, nullptr);
  ASSERT_OK(one);
  const auto which =
      restore(engine_->vault(), {.item = "vm", .point = "", .disk = "", .to = scratch_ / "two"}, nullptr);
  ASSERT_EQ(which.code(), ErrorCode::DiskNotFound);
  EXPECT_LT(which.error().message.size(), 8192U);
}

TEST_F(DeepTreeTest, AWideTreeIsRemovedWithWhatNobodyMayEnter) {
  const auto make = [&](const std::string& name, mode_t mode) {
    const std::filesystem::path path = scratch_ / "out" / name;
    std::filesystem::create_directories(path);
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  };
  write_file(scratch_ / "kept", random_bytes(1, 10));
  for (int i = 0; i < 20; ++i) {
    for (int j = 0; j < 20; ++j) {
      make("d/" + std::to_string(i) + "/" + std::to_string(j), 0700);
      write_file(scratch_ / "out/d" / std::to_string(i) / std::to_string(j) / "1", random_bytes(1, 10));
    }
  }
  std::filesystem::create_directory_symlink(scratch_.path(), scratch_ / "out/d/3/link");
  make("d/1", 0500);
  make("d/2/5", 0);
  remove_tree(out_.get(), "d");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out/d"));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "kept"));
}

}  // namespace
}  // namespace vaultfs
