// Many threads on one tree; meant for the thread sanitizer too.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::size_t kBlock = 4096;

// A block that says where it belongs and which version it is, in every word.
Bytes stamped(std::uint64_t block, std::uint64_t version) {
  Bytes bytes(kBlock);
  for (std::size_t at = 0; at < kBlock; at += 16) {
    std::memcpy(bytes.data() + at, &block, 8);
    std::memcpy(bytes.data() + at + 8, &version, 8);
  }
  return bytes;
}

// The version of a block, 0 for zeros; fails on a block that is neither.
std::uint64_t version_of(ByteView bytes, std::uint64_t block, bool& sane) {
  if (is_all_zero(bytes)) return 0;
  std::uint64_t version = 0;
  std::memcpy(&version, bytes.data() + 8, 8);
  if (!bytes_equal(bytes, stamped(block, version))) sane = false;
  return version;
}

class TreeConcurrencyTest : public testing::Test {
 protected:
  void SetUp() override {
    tree.path = directory.path() / "vault";
    ASSERT_OK(TreeUnderTest::create(posix_env(), tree.path));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    first = tree->make_node(item, "first", InodeType::file, 0644, 0, {})->number;
    second = tree->make_node(item, "second", InodeType::file, 0644, 0, {})->number;
  }
  static WorkingTree::Options options() {
    WorkingTree::Options options = TreeUnderTest::small_options();
    options.write_buffer_bytes = 6 * kMiB;
    options.flush_seconds = 1;
    return options;
  }
  ScratchDirectory directory;
  TreeUnderTest tree{posix_env(), options()};
  InodeNumber item, first, second;
};

// A cut takes files that are open for writing before all others: any of the two may be one.
class SnapshotMomentTest : public TreeConcurrencyTest, public testing::WithParamInterface<std::pair<bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(OpenForWriting, SnapshotMomentTest,
                         testing::Values(std::pair(false, false), std::pair(true, false), std::pair(false, true),
                                         std::pair(true, true)));

TEST_P(SnapshotMomentTest, SnapshotsAreOneMoment) {
  // So that the other files take some time.
  for (int i = 0; i < 2000; ++i) {
    ASSERT_OK(tree->make_node(item, "a" + std::to_string(i), InodeType::file, 0644, 0, {}));
  }
  const std::uint64_t first_handle = GetParam().first ? tree->open(first, true).value() : 0;
  const std::uint64_t second_handle = GetParam().second ? tree->open(second, true).value() : 0;
  constexpr std::uint64_t kBlocks = 3 * kMiB / kBlock;
  std::atomic<bool> stop{false};
  std::atomic<bool> sane{true};
  // Each version goes to the first file, then to the second: at any moment the second is at most one behind.
  std::thread writer([&] {
    for (std::uint64_t version = 1; !stop; ++version) {
      const std::uint64_t block = version * 7 % kBlocks;
      const Bytes bytes = stamped(0, version);
      if (!tree->write(first, first_handle, 0, bytes).ok()) sane = false;
      if (!tree->write(second, second_handle, 0, bytes).ok()) sane = false;
      if (!tree->write(first, first_handle, (block + 1) * kBlock, stamped(block + 1, version)).ok()) sane = false;
    }
  });
  std::thread syncer([&] {
    while (!stop) {
      if (!tree->fsync(first, 0).ok() || !tree->fsync(second, 0).ok()) sane = false;
    }
  });
  std::thread reader([&] {
    Bytes bytes(kBlock);
    for (std::uint64_t i = 0; !stop; ++i) {
      const std::uint64_t block = i * 13 % kBlocks + 1;
      const auto got = tree->read(first, block * kBlock, bytes);
      bool good = got.ok();
      if (good && *got == kBlock) static_cast<void>(version_of(bytes, block, good));
      if (!good) sane = false;
    }
  });
  Lsn last;
  for (int i = 0; i < 12; ++i) {
    if (i % 4 == 3) {
      EXPECT_TRUE(tree->checkpoint().ok());
    }
    const auto snapshot = tree->snapshot("vm");
    if (!snapshot.ok()) {
      ADD_FAILURE() << snapshot.error().message;
      break;
    }
    EXPECT_GT(snapshot->cut, last);
    last = snapshot->cut;
    std::uint64_t versions[2] = {};
    for (const InodeRecord& record : snapshot->inodes) {
      if (record.type != InodeType::file || record.chunks.empty() || record.chunks[0].is_zero()) continue;
      Bytes bytes(kBlock);
      EXPECT_TRUE(tree.vault().segments().read(record.chunks[0], 0, bytes).ok());
      bool good = true;
      versions[record.number == first ? 0 : 1] = version_of(bytes, 0, good);
      EXPECT_TRUE(good);
    }
    EXPECT_GE(versions[0], versions[1]);
    EXPECT_LE(versions[0], versions[1] + 1);
  }
  stop = true;
  writer.join();
  syncer.join();
  reader.join();
  EXPECT_TRUE(sane.load());
  ASSERT_OK(tree.close());
}

TEST_F(TreeConcurrencyTest, WritersTruncatersAndNamesDoNotDisturbEachOther) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> failures{0};
  std::vector<std::thread> threads;
  const auto worker = [&](auto action) {
    threads.emplace_back([&, action] {
      for (std::uint64_t i = 1; !stop; ++i) {
        if (!action(i)) ++failures;
      }
    });
  };
  worker([&](std::uint64_t i) {
    Bytes chunk;
    for (std::uint64_t block = 0; block < kMiB / kBlock; ++block) {
      const Bytes part = stamped((i % 4) * (kMiB / kBlock) + block, i);
      chunk.insert(chunk.end(), part.begin(), part.end());
    }
    return tree->write(first, 0, (i % 4) * kMiB, chunk).ok();
  });
  worker([&](std::uint64_t i) { return tree->truncate(first, (i % 5) * kMiB).ok(); });
  worker([&](std::uint64_t i) {
    return tree->fallocate(first, WorkingTree::FallocateMode::punch_hole, (i % 40) * 100 * kBlock, 90 * kBlock).ok();
  });
  worker([&](std::uint64_t i) {
    const std::uint64_t block = i * 37 % (4 * kMiB / kBlock);
    Bytes bytes(kBlock);
    const auto got = tree->read(first, block * kBlock, bytes);
    bool good = got.ok();
    if (good && *got == kBlock) static_cast<void>(version_of(bytes, block, good));
    return good;
  });
  worker([&](std::uint64_t) { return tree->sync_all().ok(); });
  worker([&](std::uint64_t i) {
    const std::string name = "name" + std::to_string(i % 7);
    const auto made = tree->make_node(item, name, InodeType::file, 0600, 0, {});
    if (!made.ok()) return false;
    const auto handle = tree->open(made->number, true);
    bool good = handle.ok() && tree->write(made->number, *handle, 0, stamped(0, i)).ok();
    good = good && tree->rename(item, name, item, "target", WorkingTree::RenameMode::replace).ok();
    if (i % 2 == 0) good = good && tree->unlink(item, "target").ok();
    tree->release(*handle);
    return good;
  });
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(tree->snapshot("vm").ok());
    EXPECT_TRUE(tree->checkpoint().ok());
    ::usleep(50'000);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0U);
  const auto before = read_all(*tree, first);
  ASSERT_TRUE(before.ok());
  ASSERT_OK(tree.close());
  ASSERT_OK(tree.open());
  const auto after = read_all(*tree, first);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(*before, *after);
}

}  // namespace
}  // namespace vaultfs
