// Single promises of the working tree: what a checkpoint keeps, what a sealed tree forgets, what a compaction must hear
// of.
#include <gtest/gtest.h>

#include "fs/content/extent_map.h"
#include "tests/fs/tree/snapshot_bytes.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class TreeGuardsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = make("disk");
  }
  InodeNumber make(const std::string& name) {
    return tree->make_node(item, name, InodeType::file, 0644, 0, {})->number;
  }
  // Chunks that differ and compress well, stored.
  Bytes fill(std::uint64_t chunks) {
    Bytes content;
    for (std::uint64_t i = 0; i < chunks; ++i) content.insert(content.end(), kMiB, static_cast<std::byte>(i + 1));
    EXPECT_TRUE(tree->write(file, 0, 0, content).ok());
    EXPECT_TRUE(tree->fsync(file, 0).ok());
    return content;
  }
  // Power goes; what was not synced is lost.
  Status crash_and_reopen() {
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    return tree.open();
  }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item, file;
};

TEST_F(TreeGuardsTest, ACheckpointKnowsTheNumbersThatWereGivenAway) {
  const InodeNumber gone = make("gone");
  ASSERT_OK(tree->unlink(item, "gone"));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(crash_and_reopen());
  EXPECT_GT(make("next"), gone);
}

TEST_F(TreeGuardsTest, AnItemIsChangedAlsoAfterACheckpointAndACrash) {
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  ASSERT_OK(tree->write(file, 0, 0, noise(100, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(crash_and_reopen());
  EXPECT_TRUE(tree->changed_since("vm", snapshot->cut));
}

TEST_F(TreeGuardsTest, AFileWithoutANameIsInACheckpoint) {
  const auto unnamed = tree->make_unnamed(item, 0600, {});
  ASSERT_OK(unnamed);
  const InodeNumber number = unnamed->attributes.number;
  const Bytes content = noise(5000, 1);
  ASSERT_OK(tree->write(number, unnamed->handle, 0, content));
  ASSERT_OK(tree->fsync(number, unnamed->handle));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(tree->make_link(number, item, "named"));
  ASSERT_OK(tree->sync_all());
  ASSERT_OK(crash_and_reopen());
  const auto named = tree->lookup(item, "named");
  ASSERT_OK(named);
  const auto read = read_all(*tree, named->number);
  ASSERT_OK(read);
  EXPECT_EQ(*read, content);
}

// The sync that would have made it durable failed: what the map has of it is the id of nothing.
TEST_F(TreeGuardsTest, AMapPageThatAFailedSyncLostIsStoredAgain) {
  const Bytes content = fill(10);
  ASSERT_OK(tree->snapshot("vm"));
  env.fail_next_sync(1);
  EXPECT_FALSE(tree.vault().segments().sync().ok());
  const auto again = tree->snapshot("vm");
  ASSERT_OK(again);
  const auto stored = snapshot_bytes(tree.vault().segments(), *again, "disk");
  ASSERT_OK(stored);
  EXPECT_TRUE(*stored == content);
}

TEST_F(TreeGuardsTest, AMapOfPagesIsAListForAFileThatShrank) {
  fill(10);
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  InodeRecord record;
  for (const InodeRecord& inode : snapshot->inodes) {
    if (inode.number == file) record = inode;
  }
  ASSERT_EQ(record.pages.size(), 1U);
  const ExtentMap map = ExtentMap::from_record(record);  // its page is not loaded
  record.size = 2 * kMiB + 5;
  ASSERT_OK(map.fill_record(record, tree.vault().segments()));
  EXPECT_TRUE(record.pages.empty());
  ASSERT_EQ(record.chunks.size(), 3U);
  for (std::uint64_t i = 0; i < 3; ++i) {
    const auto id = tree->chunk_at(file, ChunkIndexInFile(i));
    ASSERT_OK(id);
    EXPECT_TRUE(record.chunks[i] == id->value());
  }
}

TEST_F(TreeGuardsTest, ACompactionThatHasLookedAtAFileHearsOfWhatIsCopiedIntoIt) {
  const Bytes content = fill(2);
  const InodeNumber copy = make("copy");
  SegmentStore& segments = tree.vault().segments();
  ASSERT_OK(segments.close_segment());
  segments.begin_collection();
  const auto copied = tree->copy_range(*tree, {file, 0}, {copy, 0}, 0, content.size());
  ASSERT_OK(copied);
  ASSERT_EQ(*copied, content.size());
  ASSERT_OK(tree->truncate(file, 0));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(segments.compact({}, {0, 1ULL << 40}));
  const auto read = read_all(*tree, copy);
  ASSERT_OK(read);
  EXPECT_TRUE(*read == content);
}

TEST_F(TreeGuardsTest, AReservedFileIsItsHoldersAlone) {
  const auto other = tree->open(file, false);
  ASSERT_OK(other);
  ASSERT_OK(tree->reserve(file));
  const Status written = tree->write(file, *other, 0, noise(10, 1));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.code(), ErrorCode::ItemBusy);
  ASSERT_OK(tree->write(file, 0, 0, noise(10, 2)));
  tree->unreserve(file);
  ASSERT_OK(tree->write(file, *other, 0, noise(10, 1)));
}

// Nobody had the file open when its content could not be stored.
TEST_F(TreeGuardsTest, ALateErrorThatNobodyHasHeardOfIsForTheNextOne) {
  fill(1);
  env.fail_next_write(1);
  ASSERT_OK(tree->write(file, 0, kMiB, noise(kMiB, 1)));
  while (tree.observer.failures().empty()) ::usleep(500);
  const auto first = tree->open(file, true);
  ASSERT_OK(first);
  const Status told = tree->take_error(*first);
  ASSERT_FALSE(told.ok());
  EXPECT_EQ(told.code(), ErrorCode::IoError);
  const auto second = tree->open(file, true);
  ASSERT_OK(second);
  EXPECT_TRUE(tree->take_error(*second).ok());
}

// What lies below in the map is older than what was copied.
TEST_F(TreeGuardsTest, ACopyHasWhatCouldNotBeStoredForIt) {
  Bytes content = fill(1);
  const Bytes newer = noise(5000, 1);
  ASSERT_OK(tree->write(file, 0, 100, newer));
  std::copy(newer.begin(), newer.end(), content.begin() + 100);
  const InodeNumber copy = make("copy");
  env.fail_next_write(1);
  const auto copied = tree->copy_range(*tree, {file, 0}, {copy, 0}, 0, kMiB);
  ASSERT_OK(copied);
  ASSERT_EQ(*copied, kMiB);
  ASSERT_FALSE(tree.observer.failures().empty());
  const auto read = read_all(*tree, copy);
  ASSERT_OK(read);
  EXPECT_TRUE(*read == content);
}

// The disk takes nothing any more when the keys go.
TEST_F(TreeGuardsTest, ASealedTreeForgetsWhatItCouldNotStoreAndShowsNothingOlder) {
  fill(1);
  ASSERT_OK(tree->write(file, 0, 5000, noise(3000, 1)));
  EXPECT_GT(tree->statistics().dirty_bytes, 0U);
  env.fail_after(0);
  tree->vault_sealed();
  EXPECT_EQ(tree->statistics().dirty_bytes, 0U);
  Bytes out(8000);
  EXPECT_FALSE(tree->read(file, 0, out).ok());
  env.clear_faults();
  tree->vault_unsealed();
  const auto read = tree->read(file, 0, out);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.code(), ErrorCode::KeyRevoked) << "the newest content is in the journal only";
  EXPECT_FALSE(tree->snapshot("vm").ok());
}

// Memory that another file's content was in.
TEST_F(TreeGuardsTest, WhatIsNotWrittenIsZeroWhateverTheMemoryHeld) {
  ASSERT_OK(tree->write(file, 0, 0, noise(40 * kMiB, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->snapshot("vm"));
  const InodeNumber other = make("other");
  Bytes model(4 * kMiB);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const Bytes piece = noise(100 * kKiB, i);  // large enough for recycled memory
    ASSERT_OK(tree->write(other, 0, i * kMiB + 300'000, piece));
    std::copy(piece.begin(), piece.end(), model.begin() + static_cast<std::ptrdiff_t>(i * kMiB + 300'000));
  }
  model.resize(3 * kMiB + 300'000 + 100 * kKiB);
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  const auto stored = snapshot_bytes(tree.vault().segments(), *snapshot, "other");
  ASSERT_OK(stored);
  EXPECT_TRUE(*stored == model);
  const auto read = read_all(*tree, other);
  ASSERT_OK(read);
  EXPECT_TRUE(*read == model);
}

}  // namespace
}  // namespace vaultfs
