// What the journal makes of a file after a crash, step by step: the order of holes, fragments and chunks.
#include <gtest/gtest.h>

#include "fs/tree/replay.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class TreeReplayTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = tree->make_node(item, "disk", InodeType::file, 0644, 0, {})->number;
  }
  void write(std::uint64_t offset, const Bytes& bytes) {
    if (model.size() < offset + bytes.size()) model.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
    ASSERT_OK(tree->write(file, 0, offset, bytes));
  }
  void punch(std::uint64_t offset, std::uint64_t length) {
    std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    ASSERT_OK(tree->fallocate(file, WorkingTree::FallocateMode::punch_hole, offset, length));
  }
  void truncate(std::uint64_t size) {
    model.resize(size);
    ASSERT_OK(tree->truncate(file, size));
  }
  // `chunks` chunks that differ and compress well, stored.
  void fill(std::uint64_t chunks) {
    for (std::uint64_t i = 0; i < chunks; ++i) write(i * kMiB, Bytes(kMiB, static_cast<std::byte>(i + 1)));
    ASSERT_OK(tree->fsync(file, 0));
  }
  void seal() { ASSERT_OK(tree->snapshot("vm")); }
  void expect_after_a_crash() {
    ASSERT_OK(tree->fsync(file, 0));
    for (std::uint64_t time = 1; time <= 2; ++time) {
      tree.drop();
      env.crash(time, CrashMode::drop_all_unsynced);
      ASSERT_OK(tree.open());
      const auto content = read_all(*tree, file);
      ASSERT_OK(content);
      ASSERT_EQ(content->size(), model.size());
      const auto differs = std::mismatch(content->begin(), content->end(), model.begin());
      ASSERT_TRUE(differs.first == content->end()) << "byte " << differs.first - content->begin();
    }
  }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item, file;
  Bytes model;  // of `file`
};

TEST_F(TreeReplayTest, ZerosOverNothingDoNotOutliveWhatIsWrittenThereAndStored) {
  write(0, noise(5000, 1));
  ASSERT_OK(tree->fsync(file, 0));
  punch(1000, 2000);
  write(1000, noise(2000, 2));
  seal();
  expect_after_a_crash();
}

TEST_F(TreeReplayTest, ZerosOverAChunkDoNotOutliveWhatIsWrittenThereAndStored) {
  fill(1);
  write(0, noise(100, 1));
  punch(1000, 2000);
  write(1000, noise(2000, 2));
  seal();
  expect_after_a_crash();
}

TEST_F(TreeReplayTest, ACutAndAGrowthDoNotOutliveWhatIsWrittenThereAndStored) {
  fill(1);
  write(0, noise(100, 1));
  truncate(5000);
  write(8000, noise(2000, 2));
  seal();
  expect_after_a_crash();
}

TEST_F(TreeReplayTest, AHoleOverSeveralChunksIsOneToItsEnd) {
  for (const bool checkpoint : {false, true}) {
    for (const std::uint64_t chunks : {5, 10}) {
      truncate(0);
      fill(chunks);
      if (checkpoint) ASSERT_OK(tree->checkpoint());
      punch(kMiB, 3 * kMiB);
      ASSERT_NO_FATAL_FAILURE(expect_after_a_crash()) << chunks << " chunks";
    }
  }
}

TEST_F(TreeReplayTest, AHoleWithPartsOfChunksAtItsEndsIsNeitherShorterNorLonger) {
  for (const bool checkpoint : {false, true}) {
    truncate(0);
    fill(5);
    write(kMiB + 100, noise(500, 1));  // fragments below the hole's ends
    write(4 * kMiB + 100, noise(500, 2));
    ASSERT_OK(tree->fsync(file, 0));
    if (checkpoint) ASSERT_OK(tree->checkpoint());
    punch(kMiB + 300, 3 * kMiB);
    ASSERT_NO_FATAL_FAILURE(expect_after_a_crash());
  }
}

// What the journal has in the hole goes with it, and comes back with nothing.
TEST_F(TreeReplayTest, FragmentsInAHoleGoAndThoseWrittenLaterStay) {
  truncate(4 * kMiB);
  for (std::uint64_t i = 0; i < 4; ++i) write(i * kMiB + 10, noise(3000, i));
  ASSERT_OK(tree->fsync(file, 0));
  punch(kMiB, 2 * kMiB);
  write(2 * kMiB + 500, noise(100, 9));
  expect_after_a_crash();
}

TEST_F(TreeReplayTest, WhatACutTookDoesNotComeBackWithAGrowth) {
  fill(3);
  ASSERT_OK(tree->checkpoint());
  write(kMiB + 500'000, noise(3000, 1));
  ASSERT_OK(tree->fsync(file, 0));
  truncate(kMiB + 100'000);
  truncate(3 * kMiB);
  expect_after_a_crash();
}

}  // namespace
}  // namespace vaultfs
