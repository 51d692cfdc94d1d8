// Space that is promised before it is written.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// Calls `asked`, once, when the disk is asked for its free space.
class AskedForSpace final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::uint64_t> free_bytes(const Path& path) override {
    if (asked) std::exchange(asked, nullptr)();
    return EnvWrapper::free_bytes(path);
  }
  std::function<void()> asked;
};

// A disk that stands still answers late. Who waits for the file must not wait for the disk.
TEST(AllocateTest, TheFileIsNotLockedWhileTheDiskIsAskedForSpace) {
  SimEnv env;
  AskedForSpace machine(env);
  ASSERT_OK(TreeUnderTest::create(machine));
  TreeUnderTest tree(machine);
  ASSERT_OK(tree.open());
  const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
  const InodeNumber file = tree->make_node(item, "disk", InodeType::file, 0644, 0, {})->number;
  ASSERT_OK(tree->write(file, 0, 0, noise(100, 1)));
  env.sim_clock().advance_seconds(60);  // what was known of the space is old
  bool was_asked = false;
  Bytes seen(100);
  std::future<Status> read;
  machine.asked = [&] {
    was_asked = true;
    read = std::async(std::launch::async, [&] {
      const auto got = tree->read(file, 0, seen);
      return got.ok() ? ok_status() : Status(got.error());
    });
    EXPECT_EQ(read.wait_for(std::chrono::seconds(5)), std::future_status::ready) << "a reader waits for the disk";
  };
  ASSERT_OK(tree->fallocate(file, WorkingTree::FallocateMode::allocate, 0, 8 * kMiB));
  ASSERT_TRUE(was_asked);
  ASSERT_OK(read.get());
  EXPECT_EQ(seen, noise(100, 1));
  EXPECT_EQ(tree->attributes(file)->size, 8 * kMiB);
}

}  // namespace
}  // namespace vaultfs
