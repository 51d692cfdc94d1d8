// Files whose newest content can't be known: after damage, or when a vault was sealed while its disk failed. They are
// refused as a whole, never shown with older content; everything else goes on.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class TreePoisonTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    other_item = tree->make_directory(kRootInode, "other", 0755, {})->number;
    file = tree->make_node(item, "disk.img", InodeType::file, 0644, 0, {})->number;
    other = tree->make_node(other_item, "disk.img", InodeType::file, 0644, 0, {})->number;
  }
  Result<Bytes> read(InodeNumber number, std::uint64_t offset, std::size_t size) {
    Bytes out(size);
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree->read(number, offset, out));
    out.resize(got);
    return out;
  }
  // All that is refused of `file` as long as it is poisoned, and that nothing else is.
  void expect_refused(ErrorCode code) {
    EXPECT_EQ(read(file, 0, 100).code(), code);
    EXPECT_EQ(tree->write(file, 0, 0, noise(100, 9)).code(), code);
    EXPECT_EQ(tree->truncate(file, 0).code(), code);
    EXPECT_EQ(tree->seek_data(file, 0).code(), code);
    static_cast<void>(tree->snapshot("vm"));  // may tell of an earlier write failure first
    EXPECT_EQ(tree->snapshot("vm").code(), code) << "a point would have other content";
    EXPECT_EQ(tree->checkpoint().code(), code) << "what it lacks would be lost for good";
    EXPECT_TRUE(tree->attributes(file).ok());
    EXPECT_EQ(*read(other, 0, kMiB), noise(kMiB, 2));
    ASSERT_OK(tree->write(other, 0, 2 * kMiB, noise(10, 3)));
    ASSERT_OK(tree->fsync(other, 0));
    ASSERT_OK(tree->snapshot("other"));
  }
  void expect_gone_when_unlinked() {
    ASSERT_OK(tree->unlink(item, "disk.img"));
    ASSERT_OK(tree->snapshot("vm"));
    ASSERT_OK(tree->checkpoint());
    const auto again = tree->make_node(item, "disk.img", InodeType::file, 0644, 0, {});
    ASSERT_OK(again);
    ASSERT_OK(tree->write(again->number, 0, 0, noise(100, 9)));
    ASSERT_OK(tree->fsync(again->number, 0));
  }
  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item, other_item, file, other;
};

TEST_F(TreePoisonTest, WhatCouldNotBeStoredIsForgottenButNotLost) {
  ASSERT_OK(tree->write(other, 0, 0, noise(kMiB, 2)));
  ASSERT_OK(tree->fsync(other, 0));
  ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  // In the journal only, and the disk refuses the segment's write when the vault is sealed.
  const Bytes newer = noise(5000, 4);
  ASSERT_OK(tree->write(file, 0, 300, newer));
  ASSERT_OK(tree->fsync(file, 0));
  env.fail_next_write(1);
  tree->vault_sealed();
  EXPECT_EQ(tree->statistics().dirty_bytes, 0U) << "no plaintext stays";
  EXPECT_EQ(read(file, 0, 100).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(read(other, 0, 100).code(), ErrorCode::KeyRevoked) << "sealed, as everything";
  tree->vault_unsealed();
  expect_refused(ErrorCode::KeyRevoked);

  tree.drop();
  ASSERT_OK(tree.open());
  EXPECT_EQ(*read(file, 300, newer.size()), newer);
  EXPECT_EQ(*read(file, 0, 300), to_bytes(ByteView(noise(kMiB, 1)).first(300)));
  ASSERT_OK(tree->snapshot("vm"));
  ASSERT_OK(tree->checkpoint());
}

TEST_F(TreePoisonTest, AnUnlinkEndsIt) {
  ASSERT_OK(tree->write(other, 0, 0, noise(kMiB, 2)));
  ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 1)));
  ASSERT_OK(tree->sync_all());
  ASSERT_OK(tree->write(file, 0, 300, noise(5000, 4)));
  ASSERT_OK(tree->fsync(file, 0));
  env.fail_next_write(1);
  tree->vault_sealed();
  tree->vault_unsealed();
  EXPECT_EQ(read(file, 0, 100).code(), ErrorCode::KeyRevoked);
  static_cast<void>(tree->snapshot("vm"));
  expect_gone_when_unlinked();
}

TEST_F(TreePoisonTest, StoringWithoutFaultsPoisonsNothing) {
  ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 1)));
  ASSERT_OK(tree->write(file, 0, 300, noise(5000, 4)));
  tree->vault_sealed();
  EXPECT_EQ(tree->statistics().dirty_bytes, 0U);
  tree->vault_unsealed();
  EXPECT_EQ(*read(file, 300, 5000), noise(5000, 4));
  ASSERT_OK(tree->snapshot("vm"));
}

// A file of many chunks has its map in pages; the journal then has a change over one that is damaged.
TEST_F(TreePoisonTest, AChangeOverADamagedMapPageIsRefusedAfterTheOpening) {
  ASSERT_OK(tree->write(other, 0, 0, noise(kMiB, 2)));
  ASSERT_OK(tree->fsync(other, 0));
  ASSERT_OK(tree.vault().segments().close_segment());
  for (std::uint64_t index = 0; index < 12; ++index) {
    ASSERT_OK(tree->write(file, 0, index * kMiB, noise(kMiB, 100 + index)));
  }
  ASSERT_OK(tree->sync_all());
  ASSERT_OK(tree.vault().segments().close_segment());
  ASSERT_OK(tree->checkpoint());  // its segment begins with the page
  ASSERT_OK(tree.vault().segments().close_segment());
  ASSERT_OK(tree->write(file, 0, 5 * kMiB + 7, noise(600, 5)));
  ASSERT_OK(tree->fsync(file, 0));
  tree.drop();
  const auto segments = env.files(std::string(TreeUnderTest::kPath) + "/segments");
  env.flip_bit(segments.back(), (160 + 120) * 8);
  ASSERT_OK(tree.open());
  const ErrorCode code = read(file, 0, 100).code();
  EXPECT_TRUE(error_exit_code(code) == 10) << error_name(code);
  expect_refused(code);
  expect_gone_when_unlinked();
  tree.drop();
  ASSERT_OK(tree.open());
  EXPECT_EQ(*read(other, 0, kMiB), noise(kMiB, 2));
}

// A checkpoint on a failing disk changes nothing: what the journal has stays, and the next one succeeds.
TEST_F(TreePoisonTest, ACheckpointThatFailsLosesNothing) {
  for (std::uint64_t step = 0;; ++step) {
    ASSERT_LT(step, 200U) << "no checkpoint ends";
    ASSERT_OK(tree->write(file, 0, step * 5000, noise(5000, step)));
    ASSERT_OK(tree->fsync(file, 0));
    env.fail_after(step * 4);  // each opening leaves a journal more, and so more to do for a checkpoint
    const Status checkpoint = tree->checkpoint();
    const bool failed = !checkpoint.ok();
    tree.drop();
    env.crash(step, CrashMode::drop_all_unsynced);
    ASSERT_OK(tree.open());
    for (std::uint64_t written = 0; written <= step; ++written) {
      ASSERT_EQ(*read(file, written * 5000, 5000), noise(5000, written)) << "failed at " << step;
    }
    if (!failed) break;
  }
}

}  // namespace
}  // namespace vaultfs
