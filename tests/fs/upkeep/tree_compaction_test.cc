// Compaction under a tree at work: whatever happens at the same time, nobody reads anything but what was written.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "fs/upkeep/compactor.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// Gives back all that nothing refers to. Bytes of the segments that went.
Result<std::uint64_t> compact(Vault& vault, WorkingTree& tree) {
  const std::vector<SegmentInfo> before = vault.segments().segments();
  VAULTFS_ASSIGN_OR_RETURN(const bool done, Compactor(vault, tree).give_back());
  if (!done) return Error{ErrorCode::VaultBusy, "somebody has a use for the segments as they are"};
  std::set<ContainerNumber> left;
  for (const SegmentInfo& segment : vault.segments().segments()) left.insert(segment.number);
  std::uint64_t removed = 0;
  for (const SegmentInfo& segment : before) removed += left.contains(segment.number) ? 0 : segment.stored_bytes;
  return removed;
}

Bytes pattern(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (std::size_t at = 0; at + 8 <= size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, 8);
  }
  return bytes;
}

TEST(TreeCompactionTest, WritersReadersAndCopiesGoOn) {
  const ScratchDirectory directory;
  WorkingTree::Options options = TreeUnderTest::small_options();
  options.write_buffer_bytes = 6 * kMiB;
  options.flush_seconds = 1;
  options.frame_cache_bytes = 1 * kMiB;
  TreeUnderTest tree(posix_env(), options);
  tree.path = directory.path() / "vault";
  ASSERT_OK(TreeUnderTest::create(posix_env(), tree.path));
  ASSERT_OK(tree.open());
  const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
  std::atomic<bool> stop{false};
  std::atomic<int> writers{3};

  // Each writer has a file of his own, more than a map's inline chunks, and a model of it.
  const auto write = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const InodeNumber file =
        tree->make_node(item, "file-" + std::to_string(seed), InodeType::file, 0644, 0, {})->number;
    constexpr std::uint64_t kSize = 12 * kMiB;
    Bytes model(kSize);
    EXPECT_TRUE(tree->truncate(file, kSize).ok());
    for (int round = 0; round < 300; ++round) {
      const std::uint64_t choice = random() % 10;
      std::uint64_t offset = random() % kSize;
      if (choice < 5) {
        const Bytes bytes = pattern(random(), std::min<std::uint64_t>(choice < 3 ? 4096 : 2 * kMiB, kSize - offset));
        EXPECT_TRUE(tree->write(file, 0, offset, bytes).ok());
        std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
      } else if (choice < 6) {
        const std::uint64_t length = std::min<std::uint64_t>(random() % (3 * kMiB) + 1, kSize - offset);
        EXPECT_TRUE(tree->fallocate(file, WorkingTree::FallocateMode::punch_hole, offset, length).ok());
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
      } else if (choice < 7) {
        const std::uint64_t from = random() % 12 * kMiB;
        const std::uint64_t to = random() % 12 * kMiB;
        if (from == to) continue;
        const auto copied = tree->copy_range(*tree, {file, from}, {file, to}, 0, kMiB);
        ASSERT_TRUE(copied.ok()) << copied.error().message;
        ASSERT_EQ(*copied, kMiB);
        std::copy_n(model.begin() + static_cast<std::ptrdiff_t>(from), kMiB,
                    model.begin() + static_cast<std::ptrdiff_t>(to));
      } else {
        offset = std::min(offset, kSize - 2 * kMiB);
        Bytes got(random() % (2 * kMiB) + 1);
        const auto read = tree->read(file, offset, got);
        ASSERT_TRUE(read.ok()) << error_name(read.code()) << ": " << read.error().message;
        ASSERT_EQ(std::memcmp(got.data(), model.data() + offset, got.size()), 0) << "round " << round;
      }
      if (round % 20 == 0) {
        EXPECT_TRUE(tree->fsync(file, 0).ok());
      }
    }
    Bytes whole(kSize);
    ASSERT_TRUE(tree->read(file, 0, whole).ok());
    EXPECT_TRUE(bytes_equal(whole, model));
    --writers;
  };
  std::uint64_t removed = 0;
  std::uint64_t rounds = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) threads.emplace_back(write, seed);
    while (writers > 0 && !testing::Test::HasFatalFailure()) {
      const auto done = compact(tree.vault(), *tree);
      ASSERT_TRUE(done.ok()) << error_name(done.code()) << ": " << done.error().message;
      removed += *done;
      ++rounds;
    }
  }
  EXPECT_GT(removed, 50 * kMiB) << "in " << rounds << " rounds";
  EXPECT_TRUE(tree.observer.failures().empty());

  // What is left is what the files hold, and it is all there after an opening.
  ASSERT_OK(tree->sync_all());
  ASSERT_TRUE(compact(tree.vault(), *tree).ok());
  EXPECT_LT(tree.vault().segments().stored_bytes(), 3 * 12 * kMiB + 8 * kMiB);
  std::vector<Bytes> before(3, Bytes(12 * kMiB));
  for (std::uint64_t i = 0; i < 3; ++i) {
    const InodeNumber file = tree->lookup(item, "file-" + std::to_string(i + 1))->number;
    ASSERT_TRUE(tree->read(file, 0, before[i]).ok());
  }
  ASSERT_OK(tree.open());
  for (std::uint64_t i = 0; i < 3; ++i) {
    const InodeNumber file = tree->lookup(item, "file-" + std::to_string(i + 1))->number;
    Bytes after(12 * kMiB);
    ASSERT_TRUE(tree->read(file, 0, after).ok());
    EXPECT_TRUE(bytes_equal(after, before[i])) << "file " << i + 1;
  }
}

TEST(TreeCompactionTest, AnOpenFileWithoutANameStaysReadable) {
  SimEnv env;
  ASSERT_OK(TreeUnderTest::create(env));
  TreeUnderTest tree(env);
  ASSERT_OK(tree.open());
  const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
  const InodeNumber file = tree->make_node(item, "file", InodeType::file, 0644, 0, {})->number;
  const Bytes content = pattern(1, 3 * kMiB);
  ASSERT_OK(tree->write(file, 0, 0, content));
  ASSERT_OK(tree->fsync(file, 0));
  const std::uint64_t handle = *tree->open(file, false);
  ASSERT_OK(tree->unlink(item, "file"));
  ASSERT_TRUE(compact(tree.vault(), *tree).ok());
  Bytes got(content.size());
  ASSERT_TRUE(tree->read(file, 0, got).ok());
  EXPECT_TRUE(bytes_equal(got, content));
  tree->release(handle);
  const auto removed = compact(tree.vault(), *tree);
  ASSERT_TRUE(removed.ok());
  EXPECT_GT(*removed, content.size());
}

// A crash at each step, with content in every form: chunks, patches, fragments, map pages.
TEST(TreeCompactionTest, ACrashAtAnyStepBringsBackTheTree) {
  constexpr std::uint64_t kSize = 10 * kMiB;
  for (std::uint64_t step = 0;; ++step) {
    SimEnv env(step + 1);
    ASSERT_OK(TreeUnderTest::create(env));
    TreeUnderTest tree(env);
    ASSERT_OK(tree.open());
    const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    const InodeNumber file = tree->make_node(item, "file", InodeType::file, 0644, 0, {})->number;
    Bytes model = pattern(1, kSize);
    ASSERT_OK(tree->write(file, 0, 0, model));
    ASSERT_OK(tree->checkpoint());
    const auto overwrite = [&](std::uint64_t seed, std::uint64_t offset, std::size_t size) {
      const Bytes bytes = pattern(seed, size);
      ASSERT_OK(tree->write(file, 0, offset, bytes));
      std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
    };
    overwrite(2, 0, 3 * kMiB);
    overwrite(3, 4 * kMiB + 8192, 4096);
    ASSERT_OK(tree->checkpoint());
    overwrite(4, 6 * kMiB + 100, 5000);
    ASSERT_OK(tree->fsync(file, 0));
    env.fail_after(step);
    const bool done = compact(tree.vault(), *tree).ok();
    const bool reached = env.failure_reached();
    tree.drop();
    env.crash(step);
    ASSERT_OK(tree.open());
    Bytes got(kSize);
    const auto read = tree->read(tree->lookup(tree->lookup(kRootInode, "vm")->number, "file")->number, 0, got);
    ASSERT_TRUE(read.ok()) << "step " << step << ": " << error_name(read.code()) << ": " << read.error().message;
    ASSERT_TRUE(bytes_equal(got, model)) << "step " << step;
    if (done && !reached) {
      EXPECT_GT(step, 10U);
      return;
    }
  }
}

}  // namespace
}  // namespace vaultfs
