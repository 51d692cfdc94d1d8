// A crash at every durable step: what fsync promised is there, and nothing that nobody wrote.
#include <gtest/gtest.h>

#include <map>

#include "tests/fs/fake_vault.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;

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

TEST_P(TreeCrashTest, FsyncedDataSurvivesACrashAtEveryStep) {
  for (std::uint64_t n = 0;; ++n) {
    SimEnv env(n + 1);
    VAULTFS_ASSERT_OK(FakeVault::create(env));
    TreeUnderTest tree(env);
    Scenario scenario(tree);
    env.fail_after(n);
    const bool completed = scenario.run().ok();
    tree.drop();
    env.crash(n * 7 + 1, GetParam());
    const std::string where = "step " + std::to_string(n) + ": ";
    const Status opened = tree.open();
    ASSERT_TRUE(opened.ok()) << where << message_of(opened);
    scenario.check(where);
    ASSERT_FALSE(testing::Test::HasFailure()) << where;
    // And once more: the opening itself must not have changed anything.
    tree.drop();
    env.crash(n * 7 + 2, GetParam());
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

}  // namespace
}  // namespace vaultfs
