// A crash at every durable step: what fsync promised is there, and nothing that nobody wrote.
#include <gtest/gtest.h>

#include <map>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// What each file was since it was last known to be durable, oldest first: a crash may leave any mixture of these.
struct History {
  std::vector<Bytes> versions{Bytes{}};
  [[nodiscard]] const Bytes& now() const { return versions.back(); }
};

class Scenario {
 public:
  explicit Scenario(TreeUnderTest& tree) : tree_(tree) {}

  [[nodiscard]] Status run() {
    VAULTFS_RETURN_IF_ERROR(tree_.open());
    VAULTFS_ASSIGN_OR_RETURN(const Attributes item, tree_->make_directory(kRootInode, "vm", 0755, {}));
    item_ = item.number;
    VAULTFS_RETURN_IF_ERROR(make("a"));
    VAULTFS_RETURN_IF_ERROR(make("b"));
    VAULTFS_RETURN_IF_ERROR(write("a", 0, 5000, 1));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(write("a", 100, 2 * kMiB, 2));
    VAULTFS_RETURN_IF_ERROR(write("b", 10, kMiB + 700, 3));
    VAULTFS_RETURN_IF_ERROR(sync("b"));
    VAULTFS_RETURN_IF_ERROR(truncate("a", kMiB + 40));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(write("a", kMiB + 4000, 300, 4));
    VAULTFS_RETURN_IF_ERROR(checkpoint());
    VAULTFS_RETURN_IF_ERROR(write("a", 0, kMiB, 5));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(punch("b", 100, kMiB));
    VAULTFS_RETURN_IF_ERROR(write("b", 200, 50, 6));
    VAULTFS_RETURN_IF_ERROR(sync("b"));
    VAULTFS_RETURN_IF_ERROR(tree_->snapshot("vm"));
    VAULTFS_RETURN_IF_ERROR(write("b", 0, 4096, 7));
    VAULTFS_RETURN_IF_ERROR(sync("b"));
    VAULTFS_RETURN_IF_ERROR(checkpoint());
    VAULTFS_RETURN_IF_ERROR(tree_.close());
    VAULTFS_RETURN_IF_ERROR(tree_.open());
    VAULTFS_RETURN_IF_ERROR(truncate("b", 3 * kMiB));
    VAULTFS_RETURN_IF_ERROR(write("b", 2 * kMiB, kMiB, 8));
    return sync("b");
  }

  // Small writes into chunks: patches over chunks, over patches, over a hole and over a tail.
  [[nodiscard]] Status run_small_writes() {
    VAULTFS_RETURN_IF_ERROR(tree_.open());
    VAULTFS_ASSIGN_OR_RETURN(const Attributes item, tree_->make_directory(kRootInode, "vm", 0755, {}));
    item_ = item.number;
    VAULTFS_RETURN_IF_ERROR(make("a"));
    VAULTFS_RETURN_IF_ERROR(write("a", 0, kMiB + 50'000, 1));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(tree_->snapshot("vm"));
    VAULTFS_RETURN_IF_ERROR(write("a", 40'960, 4096, 2));
    VAULTFS_RETURN_IF_ERROR(write("a", 500'001, 5000, 3));
    VAULTFS_RETURN_IF_ERROR(write("a", kMiB + 49'000, 1000, 4));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(tree_->snapshot("vm"));
    VAULTFS_RETURN_IF_ERROR(expect_patches(2));
    VAULTFS_RETURN_IF_ERROR(write("a", 45'056, 4096, 5));
    VAULTFS_RETURN_IF_ERROR(write("a", 3 * kMiB + 100'000, 10, 6));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(tree_->snapshot("vm"));
    VAULTFS_RETURN_IF_ERROR(expect_patches(3));
    VAULTFS_RETURN_IF_ERROR(checkpoint());
    VAULTFS_RETURN_IF_ERROR(write("a", 100, 10, 7));
    VAULTFS_RETURN_IF_ERROR(truncate("a", kMiB - 3000));
    VAULTFS_RETURN_IF_ERROR(write("a", kMiB + 100'000, 4096, 8));
    VAULTFS_RETURN_IF_ERROR(sync("a"));
    VAULTFS_RETURN_IF_ERROR(tree_->snapshot("vm"));
    VAULTFS_RETURN_IF_ERROR(punch("a", 42'000, 30'000));
    VAULTFS_RETURN_IF_ERROR(checkpoint());
    VAULTFS_RETURN_IF_ERROR(tree_.close());
    VAULTFS_RETURN_IF_ERROR(tree_.open());
    VAULTFS_RETURN_IF_ERROR(write("a", 700'000, 20, 9));
    return sync("a");
  }

  // After a crash and a new opening.
  void check(const std::string& where) {
    const auto item = tree_->lookup(kRootInode, "vm");
    if (!item.ok()) {
      EXPECT_TRUE(durable_.empty()) << where << "the item is gone";
      return;
    }
    for (const auto& [name, history] : files_) {
      const auto found = tree_->lookup(item->number, name);
      if (!found.ok()) {
        ASSERT_FALSE(durable_.contains(name)) << where << name << " is gone";
        continue;
      }
      const auto content = read_all(*tree_, found->number);
      ASSERT_TRUE(content.ok()) << where << name << ": " << content.error().message;
      check_content(where + name + ": ", history, *content);
      if (testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  static void check_content(const std::string& where, const History& history, const Bytes& content) {
    const bool known_size = std::any_of(history.versions.begin(), history.versions.end(),
                                        [&](const Bytes& version) { return version.size() == content.size(); });
    ASSERT_TRUE(known_size) << where << "an invented size " << content.size();
    for (std::size_t at = 0; at < content.size(); ++at) {
      const bool known = std::any_of(history.versions.begin(), history.versions.end(), [&](const Bytes& version) {
        return (at < version.size() ? version[at] : std::byte{0}) == content[at];
      });
      ASSERT_TRUE(known) << where << "byte " << at << " of " << content.size() << " was never that";
    }
  }

  // A scenario that makes no patches would test nothing.
  Status expect_patches(std::size_t expected) {
    std::size_t found = 0;
    for (std::uint64_t index = 0; index < 4; ++index) {
      VAULTFS_ASSIGN_OR_RETURN(const auto id, tree_->chunk_at(numbers_["a"], ChunkIndexInFile(index)));
      if (!id || id->is_zero()) continue;
      VAULTFS_ASSIGN_OR_RETURN(const auto patch, tree_.vault().segments().patch_of(*id));
      found += patch ? 1 : 0;
    }
    EXPECT_EQ(found, expected);
    return ok_status();
  }
  Status make(const std::string& name) {
    files_[name] = {};
    VAULTFS_ASSIGN_OR_RETURN(const Attributes made, tree_->make_node(item_, name, InodeType::file, 0644, 0, {}));
    numbers_[name] = made.number;
    return ok_status();
  }
  Status write(const std::string& name, std::uint64_t offset, std::uint64_t length, std::uint64_t seed) {
    const Bytes data = noise(length, seed);
    Bytes next = files_[name].now();
    if (next.size() < offset + length) next.resize(offset + length);
    std::copy(data.begin(), data.end(), next.begin() + static_cast<std::ptrdiff_t>(offset));
    files_[name].versions.push_back(std::move(next));
    return tree_->write(numbers_[name], 0, offset, data);
  }
  Status truncate(const std::string& name, std::uint64_t size) {
    Bytes next = files_[name].now();
    next.resize(size);
    files_[name].versions.push_back(std::move(next));
    return tree_->truncate(numbers_[name], size);
  }
  Status punch(const std::string& name, std::uint64_t offset, std::uint64_t length) {
    Bytes next = files_[name].now();
    std::fill_n(next.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    files_[name].versions.push_back(std::move(next));
    return tree_->fallocate(numbers_[name], WorkingTree::FallocateMode::punch_hole, offset, length);
  }
  Status sync(const std::string& name) {
    VAULTFS_RETURN_IF_ERROR(tree_->fsync(numbers_[name], 0));
    durable_[name] = true;
    files_[name].versions = {Bytes(files_[name].now())};
    return ok_status();
  }
  Status checkpoint() { return tree_->checkpoint(); }

  TreeUnderTest& tree_;
  InodeNumber item_;
  std::map<std::string, History> files_;
  std::map<std::string, InodeNumber> numbers_;
  std::map<std::string, bool> durable_;
};

class TreeCrashTest : public testing::TestWithParam<CrashMode> {};
INSTANTIATE_TEST_SUITE_P(Modes, TreeCrashTest,
                         testing::Values(CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random));

void crash_at_every_step(CrashMode mode, Status (Scenario::*scenario_of)()) {
  for (std::uint64_t n = 0;; ++n) {
    SimEnv env(n + 1);
    ASSERT_OK(TreeUnderTest::create(env));
    TreeUnderTest tree(env);
    Scenario scenario(tree);
    env.fail_after(n);
    const bool completed = (scenario.*scenario_of)().ok();
    tree.drop();
    env.crash(n * 7 + 1, mode);
    const std::string where = "step " + std::to_string(n) + ": ";
    const Status opened = tree.open();
    ASSERT_TRUE(opened.ok()) << where << message_of(opened);
    scenario.check(where);
    ASSERT_FALSE(testing::Test::HasFailure()) << where;
    // And once more: the opening itself must not have changed anything.
    tree.drop();
    env.crash(n * 7 + 2, mode);
    const Status again = tree.open();
    ASSERT_TRUE(again.ok()) << where << message_of(again);
    scenario.check(where + "second opening: ");
    ASSERT_FALSE(testing::Test::HasFailure()) << where;
    if (completed) {
      ASSERT_GT(n, 40U) << "the scenario has too few steps to be one";
      break;
    }
  }
}

TEST_P(TreeCrashTest, FsyncedDataSurvivesACrashAtEveryStep) { crash_at_every_step(GetParam(), &Scenario::run); }

TEST_P(TreeCrashTest, FsyncedDataInPatchesSurvivesACrashAtEveryStep) {
  crash_at_every_step(GetParam(), &Scenario::run_small_writes);
}

}  // namespace
}  // namespace vaultfs
