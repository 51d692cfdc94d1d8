#include "fs/tree/working_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class WorkingTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    const auto made = tree->make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(made);
    item = made->number;
    file = make("disk.img");
  }
  InodeNumber make(const std::string& name, std::uint32_t mode = 0644) {
    const auto made = tree->make_node(item, name, InodeType::file, mode, 0, {});
    EXPECT_TRUE(made.ok()) << message_of(made.ok() ? ok_status() : Status(made.error()));
    return made.ok() ? made->number : InodeNumber{};
  }
  // Crash and restart; unsynced writes of the simulated disk are lost.
  void crash() {
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    const Status opened = tree.open();
    ASSERT_TRUE(opened.ok()) << message_of(opened);
  }
  Bytes content(InodeNumber inode) {
    auto bytes = read_all(*tree, inode);
    EXPECT_TRUE(bytes.ok()) << (bytes.ok() ? "" : bytes.error().message);
    return bytes.ok() ? std::move(bytes).value() : Bytes{};
  }
  std::uint64_t size_of(InodeNumber inode) { return tree->attributes(inode).value().size; }
  ErrorCode code(const Status& status) { return status.ok() ? ErrorCode::Internal : status.code(); }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item;
  InodeNumber file;
};

TEST_F(WorkingTreeTest, WhatWasWrittenIsReadAtOnce) {
  const Bytes data = noise(3 * kMiB + 12345, 1);
  ASSERT_OK(tree->write(file, 0, 7, data));
  Bytes expected(7);
  expected.insert(expected.end(), data.begin(), data.end());
  EXPECT_EQ(content(file), expected);
  EXPECT_EQ(tree->statistics().logical_bytes, expected.size());
}

TEST_F(WorkingTreeTest, FsyncedDataSurvivesACrashUnstored) {
  const Bytes data = noise(5000, 2);
  ASSERT_OK(tree->write(file, 0, 100, data));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->write(file, 0, 200, noise(50, 3)));
  crash();
  Bytes expected(100);
  expected.insert(expected.end(), data.begin(), data.end());
  EXPECT_EQ(content(file), expected);
}

TEST_F(WorkingTreeTest, FsyncedDataSurvivesACrashOnceStored) {
  const Bytes data = noise(4 * kMiB + 5, 4);
  ASSERT_OK(tree->write(file, 0, 0, data));
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_EQ(content(file), data);
}

TEST_F(WorkingTreeTest, ASmallWriteReadsNothingBack) {
  ASSERT_OK(tree->write(file, 0, 0, noise(8 * kMiB, 5)));
  ASSERT_OK(tree->fsync(file, 0));
  // Were anything read from the segments, it would fail now.
  for (const auto& path : env.files("/vault/segments")) env.fail_reads(path);
  for (std::uint64_t i = 0; i < 32; ++i) {
    ASSERT_OK(tree->write(file, 0, (i * 37 % 2000) * 4096, noise(4096, 100 + i)));
    ASSERT_OK(tree->fsync(file, 0));
  }
}

TEST_F(WorkingTreeTest, TruncationHidesOldBytesForGood) {
  const Bytes data = noise(2 * kMiB + 500, 6);
  ASSERT_OK(tree->write(file, 0, 0, data));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->truncate(file, kMiB + 1000));
  ASSERT_OK(tree->truncate(file, 3 * kMiB));
  Bytes expected(data.begin(), data.begin() + kMiB + 1000);
  expected.resize(3 * kMiB);
  EXPECT_EQ(content(file), expected);
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_EQ(content(file), expected);
  ASSERT_OK(tree->checkpoint());
  crash();
  EXPECT_EQ(content(file), expected);
}

TEST_F(WorkingTreeTest, ChunksBeyondALostGrowthDoNotShowUpLater) {
  // Full slots are sealed and journalled at once; the growth of the file is not, until it is synced.
  ASSERT_OK(tree->write(file, 0, 0, noise(100, 7)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->write(file, 0, 0, noise(2 * kMiB, 8)));
  for (int i = 0; i < 500 && tree->statistics().dirty_bytes > 0; ++i) ::usleep(2000);
  ASSERT_OK(tree.vault().journal().commit());
  crash();
  ASSERT_EQ(size_of(file), 100U);
  ASSERT_OK(tree->truncate(file, 2 * kMiB));
  Bytes rest(2 * kMiB - 100);
  ASSERT_TRUE(tree->read(file, 100, rest).ok());
  EXPECT_TRUE(is_all_zero(rest));
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  ASSERT_TRUE(tree->read(file, 100, rest).ok());
  EXPECT_TRUE(is_all_zero(rest));
}

TEST_F(WorkingTreeTest, PunchedHolesReadAsZeros) {
  Bytes data = noise(4 * kMiB, 9);
  ASSERT_OK(tree->write(file, 0, 0, data));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->fallocate(file, WorkingTree::FallocateMode::punch_hole, kMiB - 10, 2 * kMiB + 20));
  std::fill(data.begin() + kMiB - 10, data.begin() + 3 * kMiB + 10, std::byte{0});
  EXPECT_EQ(content(file), data);
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_EQ(content(file), data);
  EXPECT_EQ(tree->seek_data(file, kMiB).value(), 3 * kMiB);
}

TEST_F(WorkingTreeTest, HolesAreFoundAndTakeNoSpace) {
  ASSERT_OK(tree->write(file, 0, 5 * kMiB + 4096, noise(100, 10)));
  EXPECT_EQ(tree->seek_data(file, 0).value(), 5 * kMiB + 4096);
  EXPECT_EQ(tree->seek_hole(file, 5 * kMiB + 4096).value(), 5 * kMiB + 4196);
  EXPECT_EQ(tree->seek_hole(file, 10).value(), 10U);
  EXPECT_EQ(tree->seek_data(file, 5 * kMiB + 4196).code(), ErrorCode::OutOfRange);
  EXPECT_EQ(tree->seek_hole(file, 6 * kMiB).code(), ErrorCode::OutOfRange);
  EXPECT_LE(tree->attributes(file)->allocated_bytes, 8192U);
  const Bytes zeros(4 * kMiB);
  ASSERT_OK(tree->write(file, 0, 0, zeros));
  ASSERT_OK(tree->fsync(file, 0));
  EXPECT_EQ(tree->chunk_at(file, ChunkIndexInFile(1)).value(), std::optional<ChunkId>(ChunkId{}));
  EXPECT_EQ(tree.vault().segments().chunk_count(), 0U);
}

TEST_F(WorkingTreeTest, AppendsLandAtTheEnd) {
  Bytes expected;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const Bytes part = noise(70'001, 20 + i);
    const auto at = tree->append(file, 0, part);
    ASSERT_TRUE(at.ok());
    EXPECT_EQ(*at, expected.size());
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_EQ(content(file), expected);
}

TEST_F(WorkingTreeTest, NamesSurviveACrashOnceSynced) {
  const auto directory = tree->make_directory(item, "sub", 0750, {5, 6});
  ASSERT_TRUE(directory.ok());
  ASSERT_TRUE(tree->make_symlink(directory->number, "link", "../disk.img", {}).ok());
  ASSERT_TRUE(tree->make_link(file, directory->number, "hard").ok());
  ASSERT_OK(tree->rename(item, "disk.img", directory->number, "moved.img", WorkingTree::RenameMode::replace));
  ASSERT_OK(tree->fsync(item, 0));
  ASSERT_TRUE(tree->make_node(item, "lost", InodeType::file, 0600, 0, {}).ok());
  crash();
  EXPECT_EQ(tree->lookup(item, "lost").code(), ErrorCode::NotFound);
  EXPECT_EQ(tree->lookup(item, "disk.img").code(), ErrorCode::NotFound);
  const auto again = resolve_path(*tree, kRootInode, "vm/sub");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->mode, 0750U);
  EXPECT_EQ(again->uid, 5U);
  EXPECT_EQ(again->link_count, 2U);
  EXPECT_EQ(tree->attributes(item)->link_count, 3U);
  const auto moved = tree->lookup(again->number, "moved.img");
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->number, file);
  EXPECT_EQ(moved->link_count, 2U);
  const auto link = tree->lookup(again->number, "link");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(tree->read_link(link->number).value(), "../disk.img");
}

TEST_F(WorkingTreeTest, RulesOfTheRootAndOfItems) {
  EXPECT_EQ(tree->make_node(kRootInode, "file", InodeType::file, 0600, 0, {}).code(), ErrorCode::NotPermitted);
  EXPECT_EQ(tree->make_directory(kRootInode, ".recovery-points", 0700, {}).code(), ErrorCode::InvalidName);
  EXPECT_EQ(tree->make_directory(kRootInode, "a@b", 0700, {}).code(), ErrorCode::InvalidName);
  const auto other = tree->make_directory(kRootInode, "other", 0755, {});
  ASSERT_TRUE(other.ok());
  using Mode = WorkingTree::RenameMode;
  EXPECT_EQ(code(tree->rename(item, "disk.img", other->number, "x", Mode::replace)), ErrorCode::CrossItem);
  EXPECT_EQ(tree->make_link(file, other->number, "x").code(), ErrorCode::CrossItem);
  EXPECT_EQ(code(tree->rename(kRootInode, "vm", kRootInode, "vn", Mode::replace)), ErrorCode::NotPermitted);
  EXPECT_EQ(code(tree->remove_directory(kRootInode, "vm")), ErrorCode::DirectoryNotEmpty);
  EXPECT_EQ(code(tree->unlink(kRootInode, "vm")), ErrorCode::IsADirectory);
  EXPECT_EQ(code(tree->remove_directory(item, "disk.img")), ErrorCode::NotADirectory);
  EXPECT_EQ(tree->make_node(item, std::string(256, 'x'), InodeType::file, 0600, 0, {}).code(), ErrorCode::NameTooLong);
  EXPECT_EQ(tree->make_node(item, "..", InodeType::file, 0600, 0, {}).code(), ErrorCode::InvalidName);
  EXPECT_GE(tree.observer.changes("vm"), 1U);
}

TEST_F(WorkingTreeTest, RenameModesAndLoops) {
  using Mode = WorkingTree::RenameMode;
  const auto a = tree->make_directory(item, "a", 0755, {});
  const auto b = tree->make_directory(a->number, "b", 0755, {});
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(code(tree->rename(item, "a", b->number, "c", Mode::replace)), ErrorCode::InvalidArgument);
  EXPECT_EQ(code(tree->rename(item, "a", item, "disk.img", Mode::replace)), ErrorCode::NotADirectory);
  EXPECT_EQ(code(tree->rename(item, "disk.img", item, "a", Mode::replace)), ErrorCode::IsADirectory);
  EXPECT_EQ(code(tree->rename(item, "disk.img", item, "a", Mode::no_replace)), ErrorCode::AlreadyExists);
  ASSERT_OK(tree->rename(item, "disk.img", a->number, "b", Mode::exchange));
  EXPECT_EQ(tree->lookup(item, "disk.img")->number, b->number);
  EXPECT_EQ(tree->lookup(a->number, "b")->number, file);
  EXPECT_EQ(tree->attributes(a->number)->link_count, 2U);
  EXPECT_EQ(tree->attributes(item)->link_count, 4U);
  ASSERT_OK(tree->fsync(item, 0));
  crash();
  EXPECT_EQ(tree->lookup(item, "disk.img")->number, b->number);
  EXPECT_EQ(tree->attributes(item)->link_count, 4U);
}

TEST_F(WorkingTreeTest, AReplacingRenameNeverLeavesAnEmptyFile) {
  ASSERT_OK(tree->write(file, 0, 0, noise(9000, 30)));
  ASSERT_OK(tree->fsync(file, 0));
  const InodeNumber fresh = make("disk.new");
  const Bytes data = noise(kMiB + 9001, 31);
  ASSERT_OK(tree->write(fresh, 0, 0, data));
  ASSERT_OK(tree->rename(item, "disk.new", item, "disk.img", WorkingTree::RenameMode::replace));
  // Another file's fsync carries the rename along.
  ASSERT_OK(tree->fsync(item, 0));
  crash();
  const auto found = tree->lookup(item, "disk.img");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(content(found->number), data);
}

TEST_F(WorkingTreeTest, AnUnlinkedFileLivesAsLongAsItIsOpen) {
  const auto handle = tree->open(file, true);
  ASSERT_TRUE(handle.ok());
  EXPECT_TRUE(tree->open_for_writing("vm"));
  ASSERT_OK(tree->unlink(item, "disk.img"));
  const Bytes data = noise(kMiB + 5, 40);
  ASSERT_OK(tree->write(file, *handle, 0, data));
  EXPECT_EQ(content(file), data);
  const auto snapshot = tree->snapshot("vm");
  ASSERT_TRUE(snapshot.ok());
  EXPECT_EQ(snapshot->inodes.size(), 1U);
  EXPECT_TRUE(snapshot->open_for_writing);
  ASSERT_OK(tree->fsync(file, *handle));
  tree->release(*handle);
  EXPECT_EQ(tree->attributes(file).code(), ErrorCode::NotFound);
  EXPECT_EQ(tree->statistics().files, 0U);
  crash();
  EXPECT_EQ(tree->attributes(file).code(), ErrorCode::NotFound);
  // Numbers are never used again.
  EXPECT_GT(make("next").value, file.value);
}

TEST_F(WorkingTreeTest, SetIdBitsGoWhenAskedToAndWritingMovesTimes) {
  AttributeChange change;
  change.mode = 06755;
  change.mtime = UnixNanos{5};
  ASSERT_TRUE(tree->set_attributes(file, change).ok());
  EXPECT_EQ(tree->attributes(file)->mode, 06755U);
  env.sim_clock().advance_seconds(10);
  ASSERT_OK(tree->write(file, 0, 0, noise(10, 50)));
  EXPECT_EQ(tree->attributes(file)->mode, 06755U) << "the kernel says whose writes take them";
  const auto stranger = [](std::uint32_t) { return false; };
  const auto dropped = tree->drop_set_id(file, stranger);
  ASSERT_OK(dropped);
  EXPECT_TRUE(*dropped);
  const auto after = tree->attributes(file);
  EXPECT_EQ(after->mode, 0755U);
  EXPECT_EQ(after->mtime, env.clock().now());
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  EXPECT_EQ(tree->attributes(file)->mode, 0755U);
  EXPECT_EQ(tree->attributes(file)->mtime, after->mtime);
}

TEST_F(WorkingTreeTest, ReservedFilesTakeChunksAndNoWriters) {
  const auto handle = tree->open(file, true);
  EXPECT_EQ(code(tree->reserve(file)), ErrorCode::ItemBusy);
  tree->release(*handle);
  ASSERT_OK(tree->reserve(file));
  EXPECT_EQ(tree->open(file, true).code(), ErrorCode::ItemBusy);
  const Bytes data = noise(kMiB, 60);
  const auto put = tree.vault().segments().put(RecordType::chunk, data);
  ASSERT_TRUE(put.ok());
  ASSERT_OK(tree->truncate(file, 2 * kMiB));
  ASSERT_OK(tree->set_chunk(file, ChunkIndexInFile(1), put->id));
  tree->unreserve(file);
  EXPECT_EQ(code(tree->set_chunk(file, ChunkIndexInFile(0), put->id)), ErrorCode::InvalidArgument);
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  Bytes expected(kMiB);
  expected.insert(expected.end(), data.begin(), data.end());
  EXPECT_EQ(content(file), expected);
}

TEST_F(WorkingTreeTest, AReadOnlyTreeShowsAndRefuses) {
  ASSERT_OK(tree->write(file, 0, 0, noise(100'000, 70)));
  ASSERT_OK(tree->fsync(file, 0));
  tree.drop();
  ASSERT_OK(tree.open(true));
  EXPECT_EQ(content(file), noise(100'000, 70));
  EXPECT_EQ(code(tree->write(file, 0, 0, noise(1, 1))), ErrorCode::ReadOnly);
  EXPECT_EQ(code(tree->unlink(item, "disk.img")), ErrorCode::ReadOnly);
  EXPECT_EQ(tree->snapshot("vm").code(), ErrorCode::ReadOnly);
}

TEST_F(WorkingTreeTest, ARefusingObserverStopsTheChange) {
  tree.observer.refuse(Error{ErrorCode::KeyRevoked, "no"});
  EXPECT_EQ(code(tree->write(file, 0, 0, noise(10, 1))), ErrorCode::KeyRevoked);
  EXPECT_EQ(code(tree->unlink(item, "disk.img")), ErrorCode::KeyRevoked);
  tree.observer.refuse(std::nullopt);
  EXPECT_EQ(size_of(file), 0U);
}

TEST_F(WorkingTreeTest, SealedTreesRefuseUntilTheyAreOpenedAgain) {
  const Bytes data = noise(kMiB + 300, 80);
  ASSERT_OK(tree->write(file, 0, 0, data));
  ASSERT_OK(tree->sync_all());
  tree->vault_sealed();
  EXPECT_EQ(code(tree->write(file, 0, 0, data)), ErrorCode::KeyRevoked);
  Bytes out(10);
  EXPECT_EQ(tree->read(file, 0, out).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(tree->statistics().dirty_bytes, 0U);
  tree->vault_unsealed();
  EXPECT_EQ(content(file), data);
  ASSERT_OK(tree->write(file, 0, 0, noise(5, 1)));
}

}  // namespace
}  // namespace vaultfs
