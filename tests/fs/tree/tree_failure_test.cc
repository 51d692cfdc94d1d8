// Full and failing disks, and the bound of the write buffer.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "base/no_memory.h"
#include "base/thread/background_timers.h"
#include "base/thread/parallel_work.h"
#include "base/thread/worker_pool.h"
#include "fs/content/space_guard.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class TreeFailureTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = tree->make_node(item, "disk.img", InodeType::file, 0644, 0, {})->number;
  }
  void wait_until_stored() {
    for (int i = 0; i < 2000 && tree->statistics().dirty_bytes > 0 && tree.observer.failures().empty(); ++i)
      ::usleep(1000);
  }
  static WorkingTree::Options options() {
    WorkingTree::Options options = TreeUnderTest::small_options();
    options.write_buffer_bytes = 8 * kMiB;
    return options;
  }
  SimEnv env;
  TreeUnderTest tree{env, options()};
  InodeNumber item, file;
};

TEST_F(TreeFailureTest, ALateErrorIsToldOncePerHandleAndTheDataIsKept) {
  const auto one = tree->open(file, true);
  const auto two = tree->open(file, true);
  // The segment exists, so that the failing write is the chunk's.
  ASSERT_OK(tree->write(file, *one, 0, noise(kMiB, 1)));
  ASSERT_OK(tree->fsync(file, *one));
  env.fail_next_write(1);
  const Bytes data = noise(kMiB, 2);
  ASSERT_OK(tree->write(file, *one, kMiB, data));
  wait_until_stored();
  ASSERT_EQ(tree.observer.failures().size(), 1U);
  EXPECT_EQ(tree.observer.failures()[0].first, "vm");
  EXPECT_EQ(tree->write(file, *one, 0, noise(1, 1)).code(), ErrorCode::IoError);
  EXPECT_TRUE(tree->write(file, *one, 5, noise(1, 1)).ok());
  EXPECT_EQ(tree->take_error(*two).code(), ErrorCode::IoError);
  EXPECT_TRUE(tree->take_error(*two).ok());
  // The job has failed, once.
  EXPECT_EQ(tree->snapshot("vm").code(), ErrorCode::IoError);
  EXPECT_TRUE(tree->snapshot("vm").ok());
  // The bytes never left memory and reach the disk now.
  ASSERT_OK(tree->fsync(file, *one));
  tree.drop();
  env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(tree.open());
  Bytes out(kMiB);
  ASSERT_TRUE(tree->read(file, kMiB, out).ok());
  EXPECT_EQ(out, data);
}

// An owner is killed before its sync of a journal, or of the activity log; the next one's sync fails, and the kernel
// has lost then what it goes on showing. Whoever comes after both must not build on it.
TEST_F(TreeFailureTest, WhatAnOpeningCouldNotSyncIsWrittenAgainByTheNext) {
  for (const char* folder : {"journal", "activity"}) {
    SCOPED_TRACE(folder);
    ASSERT_OK(tree->sync_all());
    const Bytes data = noise(5000, 1 + std::string(folder).size());
    ASSERT_OK(tree->write(file, 0, 0, data));
    std::atomic<bool> killed{false};
    env.set_observer([&](SimStep step, const Env::Path& path) {
      if (step == SimStep::sync && path.parent_path().filename() == folder && !killed.exchange(true))
        env.kill_process();
    });
    if (std::string(folder) == "journal") {
      EXPECT_FALSE(tree->fsync(file, 0).ok());
    } else {
      ActivityEntry entry;
      entry.operation = "backup.complete";
      entry.outcome = "Succeeded";
      EXPECT_FALSE(tree.vault().activity().append(entry).ok());
    }
    ASSERT_TRUE(killed);
    tree.drop();
    std::atomic<bool> failed{false};
    env.set_observer([&](SimStep step, const Env::Path& path) {
      if (step == SimStep::sync && path.parent_path().filename() == folder && !failed.exchange(true))
        env.fail_next_sync(1);
    });
    EXPECT_EQ(tree.open().code(), ErrorCode::IoError);
    EXPECT_TRUE(failed);
    tree.drop();
    env.set_observer({});
    env.kill_process();
    ASSERT_OK(tree.open());
    Bytes seen(data.size());
    const auto before = tree->read(file, 0, seen);
    const bool was_there = before.ok() && *before == data.size() && seen == data;
    const auto log = tree.vault().activity().entries();
    ASSERT_OK(log);
    // Acknowledges what it was built on.
    ASSERT_OK(tree->write(file, 0, 100'000, noise(10, 2)));
    ASSERT_OK(tree->fsync(file, 0));
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    ASSERT_OK(tree.open());
    if (was_there) {
      ASSERT_OK(tree->read(file, 0, seen));
      EXPECT_EQ(seen, data);
    }
    const auto kept = tree.vault().activity().entries();
    ASSERT_OK(kept);
    EXPECT_GE(kept->size(), log->size());
  }
}

TEST_F(TreeFailureTest, AFailedSyncFailsFsyncAndEverythingAfter) {
  const auto handle = tree->open(file, true);
  ASSERT_OK(tree->write(file, *handle, 0, noise(100, 1)));
  env.fail_next_sync(1);
  EXPECT_FALSE(tree->fsync(file, *handle).ok());
  EXPECT_FALSE(tree->write(file, *handle, 0, noise(100, 1)).ok());
  EXPECT_FALSE(tree.observer.failures().empty());
}

TEST_F(TreeFailureTest, AFullDiskIsToldBeforeTheAcknowledgement) {
  ASSERT_OK(tree->write(file, 0, 0, noise(2 * kMiB, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  env.set_free_bytes(kSpaceReserveBytes);
  env.sim_clock().advance_seconds(1);
  EXPECT_EQ(tree->write(file, 0, 0, noise(kMiB, 2)).code(), ErrorCode::NoSpace);
  // The reserve lets what frees space go on.
  ASSERT_OK(tree->truncate(file, kMiB));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->unlink(item, "disk.img"));
  ASSERT_OK(tree->sync_all());
  env.set_unlimited_space();
  env.sim_clock().advance_seconds(1);
  const auto next = tree->make_node(item, "next", InodeType::file, 0600, 0, {});
  ASSERT_TRUE(next.ok());
  EXPECT_TRUE(tree->write(next->number, 0, 0, noise(kMiB, 3)).ok());
}

TEST_F(TreeFailureTest, AJournalWithoutRoomIsToldByFsyncAndHealsWithoutARemount) {
  const auto handle = tree->open(file, true);
  const Bytes small = noise(3000, 7);
  ASSERT_OK(tree->write(file, *handle, 0, small));
  env.set_free_bytes(0);
  EXPECT_EQ(tree->fsync(file, *handle).code(), ErrorCode::NoSpace);
  EXPECT_EQ(tree->fsync(file, *handle).code(), ErrorCode::NoSpace);
  EXPECT_TRUE(tree.observer.failures().empty()) << "nothing is lost yet";
  env.set_unlimited_space();
  env.sim_clock().advance_seconds(1);
  ASSERT_OK(tree->write(file, *handle, 4096, small));
  ASSERT_OK(tree->fsync(file, *handle));
  tree.drop();
  env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(tree.open());
  for (const std::uint64_t offset : {0, 4096}) {
    Bytes out(small.size());
    ASSERT_TRUE(tree->read(file, offset, out).ok());
    EXPECT_EQ(out, small);
  }
}

TEST_F(TreeFailureTest, ContentWithoutRoomKeepsNothingElseFromTheJournal) {
  const auto handle = tree->open(file, true);
  ASSERT_OK(tree->write(file, *handle, 0, noise(200'000, 7)));
  // Room for a removal, not for what was accepted.
  env.set_free_bytes(100'000);
  env.sim_clock().advance_seconds(1);
  EXPECT_EQ(tree->fsync(file, *handle).code(), ErrorCode::NoSpace);
  const auto other = tree->make_directory(kRootInode, "other", 0755, {});
  ASSERT_OK(other);
  EXPECT_TRUE(tree->fsync(other->number, 0).ok());
  ASSERT_OK(tree->unlink(item, "disk.img"));
  EXPECT_TRUE(tree->fsync(item, 0).ok());
}

TEST_F(TreeFailureTest, ATreeWhoseDiskHasFailedStops) {
  ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  env.fail_after(0);
  // More than the workers have begun with, whole slots and small ones.
  for (std::uint64_t i = 1; i < 8; ++i) static_cast<void>(tree->write(file, 0, i * kMiB, noise(kMiB - 5, i)).ok());
  EXPECT_FALSE(tree->stop().ok()) << "what was acknowledged is not stored";
  EXPECT_TRUE(tree->stop().ok()) << "a second time there is nothing to do, and nothing to wait for";
  EXPECT_FALSE(tree->fsync(file, 0).ok());
}

TEST(WorkerPoolTest, NobodyWaitsForATaskThatIsDropped) {
  WorkerPool pool(1);
  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false;
  bool go_on = false;
  EXPECT_TRUE(pool.submit(WorkerPool::Kind::storing, [&] {
    std::unique_lock lock(mutex);
    begun = true;
    changed.notify_all();
    changed.wait(lock, [&] { return go_on; });
  }));
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return begun; });
  }
  std::atomic<int> ran = 0;
  std::atomic<int> dropped = 0;
  for (const auto kind : {WorkerPool::Kind::storing, WorkerPool::Kind::reading}) {
    EXPECT_TRUE(pool.submit(
        kind, [&] { ++ran; }, [&] { ++dropped; }));
  }
  std::thread stopper([&] { pool.stop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  {
    const std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }
  stopper.join();
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(dropped, 2);
  EXPECT_FALSE(pool.submit(
      WorkerPool::Kind::storing, [&] { ++ran; }, [&] { ++dropped; }));
  EXPECT_EQ(dropped, 2);
}

TEST(NoMemoryTest, IsTheErrorOfOnePieceOfWork) {
  const auto without = []() -> Status { throw std::bad_alloc(); };
  EXPECT_EQ(or_no_memory(without).code(), ErrorCode::OutOfMemory);
  EXPECT_EQ(error_errno(ErrorCode::OutOfMemory), ENOMEM);
  const auto outcome = run_in_parallel(2, [&](const std::atomic<bool>& /*stop*/) -> Status { throw std::bad_alloc(); });
  EXPECT_EQ(outcome.code(), ErrorCode::OutOfMemory);
  std::atomic<int> calls = 0;
  {
    const PeriodicTask task(std::chrono::milliseconds(1), [&] {
      ++calls;
      throw std::bad_alloc();
    });
    while (calls < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_F(TreeFailureTest, TheWriteBufferStaysWithinItsBound) {
  std::atomic<bool> stop{false};
  std::uint64_t most = 0;
  std::thread watcher([&] {
    while (!stop) most = std::max(most, tree->statistics().dirty_bytes);
  });
  // Scattered over many chunks, so that nothing fills up by itself; then large writes.
  for (std::uint64_t i = 0; i < 1500; ++i) {
    ASSERT_OK(tree->write(file, 0, (i * 7919 % 64) * kMiB + (i * 31 % 250) * 4096, noise(4096, i)));
  }
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_OK(tree->write(file, 0, i * kMiB + 77, noise(kMiB, i)));
  stop = true;
  watcher.join();
  EXPECT_LE(most, options().write_buffer_bytes + kMiB);
  EXPECT_GT(most, 4 * kMiB);
  for (std::uint64_t i = 0; i < 40; ++i) {
    Bytes out(i + 1 < 40 ? kMiB - 77 : kMiB);
    ASSERT_TRUE(tree->read(file, i * kMiB + 77, out).ok());
    const Bytes expected = noise(kMiB, i);
    ASSERT_TRUE(std::equal(out.begin(), out.end(), expected.begin())) << i;
  }
}

TEST_F(TreeFailureTest, RoomIsMadeByNoMoreSlotsThanNeeded) {
  // 63 slots with 31 pages each, and a bit more than fits: a few must go, and all others stay for more small writes.
  for (std::uint64_t page = 0; page < 31; ++page) {
    for (std::uint64_t chunk = 0; chunk < 63; ++chunk) {
      ASSERT_OK(tree->write(file, 0, chunk * kMiB + page * 4096, noise(4096, chunk * 100 + page)));
    }
  }
  for (std::uint64_t page = 0; page < 40; ++page) {
    ASSERT_OK(tree->write(file, 0, 62 * kMiB + (40 + page) * 4096, noise(4096, page)));
  }
  for (int i = 0; i < 300 && tree.vault().segments().chunk_count() == 0; ++i) ::usleep(1000);
  EXPECT_GE(tree.vault().segments().chunk_count(), 1U);
  EXPECT_LE(tree.vault().segments().chunk_count(), 8U);
  EXPECT_GT(tree->statistics().dirty_bytes, 6 * kMiB);
}

TEST_F(TreeFailureTest, AFailingDiskEndsTheWaitForRoom) {
  ASSERT_OK(tree->fsync(file, 0));
  env.fail_after(0);
  Status status = ok_status();
  for (std::uint64_t i = 0; i < 200 && status.ok(); ++i) status = tree->write(file, 0, i * kMiB, noise(kMiB, i));
  EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace vaultfs
