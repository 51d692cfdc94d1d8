// What happens while a slot is on its way to a chunk: the worker stands still at a step of the disk until the test has
// done what must not disturb it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>

#include "tests/fs/tree/snapshot_bytes.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/step_stop.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

bool writes_segment(SimStep step, const Env::Path& path) { return is_write_in("segments", step, path); }

class TreeRacesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = make("disk");
  }
  static WorkingTree::Options options() {
    WorkingTree::Options options = TreeUnderTest::small_options();
    options.store_workers = 1;
    return options;
  }
  InodeNumber make(const std::string& name) {
    return tree->make_node(item, name, InodeType::file, 0644, 0, {})->number;
  }
  // Writes to `file` and to `model`.
  Status write(std::uint64_t offset, const Bytes& bytes) {
    lay(model, offset, bytes);
    return tree->write(file, 0, offset, bytes);
  }
  static void lay(Bytes& content, std::uint64_t offset, const Bytes& bytes) {
    if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  // More ranges than a slot keeps: it is sealed at once, with gaps.
  Status scatter(std::uint64_t offset) {
    for (std::uint64_t i = 0; i <= 2048; ++i) VAULTFS_RETURN_IF_ERROR(write(offset + 2 * i, noise(1, i + offset)));
    return ok_status();
  }
  // `chunks` chunks that differ and compress well.
  Status fill(std::uint64_t chunks) {
    for (std::uint64_t i = 0; i < chunks; ++i)
      VAULTFS_RETURN_IF_ERROR(write(i * kMiB, Bytes(kMiB, static_cast<std::byte>(i + 1))));
    return tree->fsync(file, 0);
  }
  Status punch(std::uint64_t offset, std::uint64_t length) {
    std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    return tree->fallocate(file, WorkingTree::FallocateMode::punch_hole, offset, length);
  }
  void wait_for_failure() {
    while (tree.observer.failures().empty()) ::usleep(500);
  }
  // Power goes; what was not synced is lost.
  Status crash_and_reopen() {
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    return tree.open();
  }
  template <class T>
  static bool is_waiting(const std::future<T>& call) {
    return call.wait_for(std::chrono::milliseconds(150)) == std::future_status::timeout;
  }
  void expect_model() {
    const auto content = read_all(*tree, file);
    ASSERT_OK(content);
    EXPECT_TRUE(*content == model);
  }
  void expect_model(const Result<TreeSnapshot>& snapshot) {
    ASSERT_OK(snapshot);
    const auto content = snapshot_bytes(tree.vault().segments(), *snapshot, "disk");
    ASSERT_OK(content);
    EXPECT_TRUE(*content == model);
  }

  SimEnv env;
  TreeUnderTest tree{env, options()};
  InodeNumber item, file;
  Bytes model;  // of `file`
};

// One seal has begun when the content goes, two wait.
TEST_F(TreeRacesTest, ATruncationAfterTheCutDoesNotReachThePoint) {
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_OK(write(i * kMiB + 1, noise(kMiB - 2, i)));
  std::future<Result<TreeSnapshot>> snapshot;
  StepStop stop(env, writes_segment);
  snapshot = std::async(std::launch::async, [&] { return tree->snapshot("vm"); });
  stop.wait();
  ASSERT_OK(tree->truncate(file, 0));
  stop.go_on();
  ASSERT_NO_FATAL_FAILURE(expect_model(snapshot.get()));
  EXPECT_EQ(tree->attributes(file)->size, 0U);
  // Nor does what the point has come back into the file.
  ASSERT_OK(tree->truncate(file, model.size()));
  model = Bytes(model.size());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, AHoleAfterTheCutDoesNotReachThePoint) {
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_OK(write(i * kMiB + 1, noise(kMiB - 2, i)));
  std::future<Result<TreeSnapshot>> snapshot;
  StepStop stop(env, writes_segment);
  snapshot = std::async(std::launch::async, [&] { return tree->snapshot("vm"); });
  stop.wait();
  const Bytes before = model;
  ASSERT_OK(punch(0, 3 * kMiB));
  stop.go_on();
  const Bytes after = std::exchange(model, before);
  ASSERT_NO_FATAL_FAILURE(expect_model(snapshot.get()));
  model = after;
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, AMapPageThatChangesDuringACommitBelongsToTheNextOne) {
  ASSERT_OK(fill(10));
  std::future<Result<TreeSnapshot>> snapshot;
  StepStop stop(env, writes_segment);
  snapshot = std::async(std::launch::async, [&] { return tree->snapshot("vm"); });
  stop.wait();  // the page is being stored
  const Bytes before = model;
  ASSERT_OK(punch(3 * kMiB, kMiB));
  stop.go_on();
  const Bytes after = std::exchange(model, before);
  ASSERT_NO_FATAL_FAILURE(expect_model(snapshot.get()));
  model = after;
  ASSERT_NO_FATAL_FAILURE(expect_model(tree->snapshot("vm")));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, AnFsyncWaitsForWhatIsBeingStored) {
  std::future<Status> sync;
  StepStop stop(env, writes_segment);
  ASSERT_OK(write(0, noise(kMiB, 1)));
  stop.wait();
  sync = std::async(std::launch::async, [&] { return tree->fsync(file, 0); });
  EXPECT_TRUE(is_waiting(sync));
  stop.go_on();
  ASSERT_OK(sync.get());
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

// So much is owed to the journal that it is written before the last slot's turn comes. That one fills up meanwhile, and
// a worker takes it.
TEST_F(TreeRacesTest, AnFsyncWaitsForASlotThatAWorkerTookMeanwhile) {
  constexpr std::uint64_t kLast = 11;
  for (std::uint64_t i = 0; i <= kLast; ++i) ASSERT_OK(write(i * kMiB + 1, noise(900 * kKiB, i)));
  std::future<Status> sync;
  std::atomic<bool> filled{false};
  StepStop stop(env, [&](SimStep step, const Env::Path& path) {
    if (is_write_in("journal", step, path) && !filled.exchange(true)) {
      EXPECT_TRUE(write(kLast * kMiB, noise(1, 1)).ok());
      EXPECT_TRUE(write(kLast * kMiB + 900 * kKiB, noise(124 * kKiB, 2)).ok());
    }
    return writes_segment(step, path);
  });
  sync = std::async(std::launch::async, [&] { return tree->fsync(file, 0); });
  stop.wait();
  EXPECT_TRUE(is_waiting(sync));
  stop.go_on();
  ASSERT_OK(sync.get());
  ASSERT_OK(crash_and_reopen());
  Bytes out(900 * kKiB - 1);
  ASSERT_OK(tree->read(file, kLast * kMiB + 1, out));
  EXPECT_TRUE(std::equal(out.begin(), out.end(), noise(900 * kKiB, kLast).begin()));
}

// Zeros in place of what was written during an fsync would be content that nobody ever wrote.
TEST_F(TreeRacesTest, AnFsyncDoesNotGrowTheFileOverWhatItDidNotStore) {
  ASSERT_OK(write(0, noise(600 * kKiB, 1)));
  std::atomic<bool> grown{false};
  StepStop stop(env, [&](SimStep step, const Env::Path& path) {
    if (writes_segment(step, path) && !grown.exchange(true)) {
      EXPECT_TRUE(tree->write(file, 0, 2 * kMiB, noise(5000, 2)).ok());
    }
    return false;
  });
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_TRUE(grown) << "the slot was not sealed";
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, WhatGrewDuringAnFsyncIsInTheNextOne) {
  ASSERT_OK(write(0, noise(600 * kKiB, 1)));
  std::atomic<bool> grown{false};
  StepStop stop(env, [&](SimStep step, const Env::Path& path) {
    if (writes_segment(step, path) && !grown.exchange(true)) {
      EXPECT_TRUE(write(2 * kMiB, noise(5000, 2)).ok());
    }
    return false;
  });
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, WhoWaitsForAStoreThatFailsHearsOfIt) {
  using Call = std::function<Status()>;
  const std::vector<std::pair<const char*, Call>> calls = {{"fsync", [&] { return tree->fsync(file, 0); }},
                                                           {"sync_all", [&] { return tree->sync_all(); }},
                                                           {"snapshot", [&] {
                                                              const auto snapshot = tree->snapshot("vm");
                                                              return snapshot.ok() ? ok_status()
                                                                                   : Status(snapshot.error());
                                                            }}};
  std::uint64_t seed = 0;
  for (const auto& [name, call] : calls) {
    SCOPED_TRACE(name);
    // What the journal has, the chunk has anew.
    ASSERT_OK(write(0, noise(5000, ++seed)));
    ASSERT_OK(tree->fsync(file, 0));
    std::atomic<bool> failing{false};
    {
      StepStop stop(env, [&](SimStep step, const Env::Path& path) {
        if (writes_segment(step, path) && !failing.exchange(true)) env.fail_next_write(1);
        return false;
      });
      // All of the file, but not of a chunk: no worker takes it before the call has it sealed.
      ASSERT_OK(write(0, noise(600 * kKiB, ++seed)));
      const Status told = call();
      ASSERT_FALSE(told.ok());
      EXPECT_EQ(told.code(), ErrorCode::IoError);
    }
    ASSERT_TRUE(failing);
    // What could not be stored is tried again.
    ASSERT_OK(tree->sync_all());
    ASSERT_OK(crash_and_reopen());
    ASSERT_NO_FATAL_FAILURE(expect_model());
  }
}

// What is written while a chunk is being sealed is not in that chunk, also where it is journalled before the chunk is.
TEST_F(TreeRacesTest, AStoredChunkDoesNotCoverWhatCameMeanwhile) {
  ASSERT_OK(fill(1));
  std::future<Status> sync;
  StepStop stop(env, writes_segment);
  ASSERT_OK(scatter(0));
  stop.wait();
  ASSERT_OK(write(100'000, noise(5000, 1)));
  Journal& journal = tree.vault().journal();
  const Lsn before = journal.last_appended();
  sync = std::async(std::launch::async, [&] { return tree->fsync(file, 0); });
  while (journal.last_appended() == before) ::usleep(500);
  stop.go_on();
  ASSERT_OK(sync.get());
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, WhatCouldNotBeStoredIsStillOwed) {
  StepStop stop(env, writes_segment);
  ASSERT_OK(write(0, noise(kMiB, 1)));
  stop.wait();
  ASSERT_OK(write(5000, noise(100, 2)));
  env.fail_next_write(1);
  stop.go_on();
  wait_for_failure();
  ASSERT_NO_FATAL_FAILURE(expect_model());
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

TEST_F(TreeRacesTest, WhoTakesOverAFailedStoreTakesItsBytesAndWhatLiesBelow) {
  ASSERT_OK(write(0, noise(kMiB, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  StepStop stop(env, writes_segment);
  ASSERT_OK(scatter(0));
  stop.wait();
  ASSERT_OK(scatter(100'000));
  env.fail_next_write(1);
  stop.go_on();
  wait_for_failure();
  EXPECT_EQ(tree->snapshot("vm").code(), ErrorCode::IoError) << "a write was lost for a moment";
  ASSERT_NO_FATAL_FAILURE(expect_model(tree->snapshot("vm")));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(crash_and_reopen());
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

// The seal that fails is one that could not read the map page which says what lies below.
TEST_F(TreeRacesTest, WhoTakesOverAFailedStoreLearnsWhatLiesBelow) {
  ASSERT_OK(fill(10));
  const InodeNumber other = make("other");
  ASSERT_OK(tree->snapshot("vm"));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(tree.close());
  ASSERT_OK(tree.open());
  StepStop stop(env, writes_segment);
  ASSERT_OK(tree->write(other, 0, 0, noise(kMiB, 1)));
  stop.wait();  // the only worker
  const std::vector<Env::Path> segments = env.files(tree.path / "segments");
  ASSERT_OK(scatter(3 * kMiB));
  ASSERT_OK(scatter(3 * kMiB + 100'000));
  tree.observer.on_failure = [&] { env.clear_faults(); };
  for (const Env::Path& path : segments) env.fail_reads(path);
  stop.go_on();
  wait_for_failure();
  EXPECT_EQ(tree->snapshot("vm").code(), ErrorCode::IoError);
  ASSERT_NO_FATAL_FAILURE(expect_model(tree->snapshot("vm")));
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

class ReferencesTest : public TreeRacesTest {
 protected:
  [[nodiscard]] std::set<ChunkId> references() {
    std::set<ChunkId> all;
    EXPECT_TRUE(tree->visit_references(
                        [&](const ChunkId& id) {
                          all.insert(id);
                          return ok_status();
                        },
                        [](const ChunkId&, const Error&) { ADD_FAILURE(); })
                    .ok());
    return all;
  }
};

// Compaction must not take what a seal is about to read, whatever the map says by now.
TEST_F(ReferencesTest, TheMapPageThatAWaitingStoreWillReadIsOne) {
  ASSERT_OK(fill(10));
  const InodeNumber other = make("other");
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  ChunkId page;
  for (const InodeRecord& record : snapshot->inodes) {
    if (!record.pages.empty()) page = record.pages.at(0);
  }
  ASSERT_FALSE(page.is_zero());
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(tree.close());
  ASSERT_OK(tree.open());
  StepStop stop(env, writes_segment);
  ASSERT_OK(tree->write(other, 0, 0, noise(kMiB, 1)));
  stop.wait();
  ASSERT_OK(scatter(3 * kMiB));
  ASSERT_OK(punch(5 * kMiB, kMiB));  // the map has another page from here on
  EXPECT_TRUE(references().contains(page));
  stop.go_on();
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_NO_FATAL_FAILURE(expect_model());
}

}  // namespace
}  // namespace vaultfs
