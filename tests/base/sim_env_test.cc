#include "tests/support/sim_env.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/base/sim_env_files.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

TEST(SimEnv, FailedSyncLosesTheDataAsLinuxDoes) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("old"));
  ASSERT_TRUE(file->write_at(0, bytes_of("new")).ok());
  env.fail_next_sync(1);
  EXPECT_EQ(file->sync().code(), ErrorCode::IoError);
  EXPECT_TRUE(file->sync().ok());  // the trap: it says success
  EXPECT_EQ(text_of(env.read("/a")), "new");
  env.crash(1, CrashMode::keep_all);
  EXPECT_EQ(text_of(env.read("/a")), "old");
}

TEST(SimEnv, FailedWritesAndReads) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("old"));
  env.fail_next_write(1, ErrorCode::NoSpace);
  EXPECT_EQ(file->write_at(0, bytes_of("new")).code(), ErrorCode::NoSpace);
  EXPECT_TRUE(file->write_at(0, bytes_of("neu")).ok());
  env.fail_reads("/a");
  Bytes out(3);
  EXPECT_EQ(file->read_at(0, out).code(), ErrorCode::IoError);
  env.clear_faults();
  EXPECT_EQ(file->read_at(0, out).value(), 3U);
  EXPECT_EQ(text_of(out), "neu");
}

TEST(SimEnv, AFullDiskStoresWhatFits) {
  SimEnv env;
  auto file = create(env, "/a");
  env.set_free_bytes(1000);
  EXPECT_EQ(env.free_bytes("/").value(), 1000U);
  EXPECT_TRUE(file->write_at(0, filled(600, 1)).ok());
  EXPECT_EQ(env.free_bytes("/").value(), 400U);
  EXPECT_TRUE(file->write_at(0, filled(600, 2)).ok());  // an overwrite takes no space
  EXPECT_EQ(file->write_at(600, filled(600, 3)).code(), ErrorCode::NoSpace);
  EXPECT_EQ(env.read("/a").size(), 1000U);
  EXPECT_EQ(env.free_bytes("/").value(), 0U);
  ASSERT_TRUE(env.remove_file("/a").ok());
  EXPECT_EQ(env.free_bytes("/").value(), 1000U);
}

TEST(SimEnv, SnapshotIsIndependentOfWhatFollows) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("one"));
  const auto snapshot = env.snapshot();
  ASSERT_TRUE(file->write_at(0, bytes_of("two")).ok());
  create(env, "/b");
  env.restore(snapshot);
  EXPECT_EQ(file->sync().code(), ErrorCode::IoError);
  EXPECT_EQ(text_of(env.read("/a")), "one");
  EXPECT_FALSE(env.exists("/b"));
  env.flip_bit("/a", 0);
  env.restore(snapshot);
  EXPECT_EQ(text_of(env.read("/a")), "one");
}

TEST(SimEnv, TheTestersHandIsDurableAtOnce) {
  SimEnv env;
  env.write("/d/e/a", bytes_of("abc"));
  env.flip_bit("/d/e/a", 8);
  env.copy("/d/e/a", "/b");
  env.cut("/b", 1);
  create(env, "/c");
  env.remove("/c");
  EXPECT_EQ(env.steps(SimStep::write), 0U);
  env.crash(1, CrashMode::keep_all);
  EXPECT_EQ(text_of(env.read("/d/e/a")), "acc");
  EXPECT_EQ(text_of(env.read("/b")), "a");
  EXPECT_FALSE(env.exists("/c"));
  EXPECT_EQ(env.files(), (std::vector<Env::Path>{"/b", "/d/e/a"}));
  env.remove("/d");
  EXPECT_EQ(env.files(), (std::vector<Env::Path>{"/b"}));
}

// The simulation must answer like the real machine; both run the same calls.
class EnvContract : public ::testing::TestWithParam<bool> {
 protected:
  EnvContract() : env_(GetParam() ? static_cast<Env&>(posix_env()) : sim_) {
    root_ = GetParam() ? scratch_.path() : Env::Path("/");
  }
  ScratchDirectory scratch_;
  SimEnv sim_;
  Env& env_;
  Env::Path root_;
};

TEST_P(EnvContract, FilesAndDirectories) {
  EXPECT_EQ(env_.open(root_ / "a", OpenMode::read_only).code(), ErrorCode::NotFound);
  EXPECT_EQ(env_.open(root_ / "x/a", OpenMode::create_exclusive).code(), ErrorCode::NotFound);
  ASSERT_TRUE(write_file_durably(env_, root_ / "a", bytes_of("one")).ok());
  ASSERT_TRUE(write_file_durably(env_, root_ / "a", bytes_of("three")).ok());
  EXPECT_EQ(text_of(read_file(env_, root_ / "a", 100).value()), "three");
  EXPECT_EQ(env_.open(root_ / "a", OpenMode::create_exclusive).code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(env_.info(root_ / "a").value().kind, FileKind::file);
  EXPECT_EQ(env_.info(root_ / "a").value().size, 5U);
  EXPECT_EQ(env_.info(root_ / "a").value().mode, 0600U);
  EXPECT_EQ(env_.info(root_ / "a/b").value().kind, FileKind::missing);
  ASSERT_TRUE(env_.make_directory(root_ / "d").ok());
  EXPECT_EQ(env_.make_directory(root_ / "d").code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(env_.info(root_ / "d").value().kind, FileKind::directory);
  EXPECT_EQ(env_.open(root_ / "d", OpenMode::read_write).code(), ErrorCode::IsADirectory);
  ASSERT_TRUE(env_.rename(root_ / "a", root_ / "d/b").ok());
  EXPECT_EQ(env_.rename(root_ / "a", root_ / "c").code(), ErrorCode::NotFound);
  EXPECT_EQ(env_.list(root_).value(), std::vector<std::string>{"d"});
  EXPECT_EQ(env_.list(root_ / "none").code(), ErrorCode::NotFound);
  EXPECT_EQ(env_.remove_directory(root_ / "d").code(), ErrorCode::DirectoryNotEmpty);
  EXPECT_EQ(env_.remove_file(root_ / "none").code(), ErrorCode::NotFound);
  ASSERT_TRUE(env_.remove_file(root_ / "d/b").ok());
  ASSERT_TRUE(env_.remove_directory(root_ / "d").ok());
  EXPECT_TRUE(env_.sync_directory(root_).ok());
  EXPECT_EQ(env_.sync_directory(root_ / "d").code(), ErrorCode::NotFound);
}

TEST_P(EnvContract, PositionalIo) {
  auto file = env_.open(root_ / "a", OpenMode::create_exclusive);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->write_at(10, bytes_of("abc")).ok());
  EXPECT_EQ((*file)->size().value(), 13U);
  Bytes out(8, std::byte{7});
  EXPECT_EQ((*file)->read_at(8, out).value(), 5U);
  EXPECT_EQ(text_of(ByteView(out).first(5)), std::string_view("\0\0abc", 5));
  EXPECT_EQ((*file)->read_at(100, out).value(), 0U);
  ASSERT_TRUE((*file)->truncate(11).ok());
  ASSERT_TRUE((*file)->truncate(12).ok());
  EXPECT_EQ((*file)->read_at(10, out).value(), 2U);
  EXPECT_EQ(text_of(ByteView(out).first(2)), std::string_view("a\0", 2));
  auto reader = env_.open(root_ / "a", OpenMode::read_only);
  ASSERT_TRUE(reader.ok());
  EXPECT_FALSE((*reader)->write_at(0, out).ok());
  ASSERT_TRUE(env_.remove_file(root_ / "a").ok());
  EXPECT_EQ((*reader)->read_at(10, out).value(), 2U);  // an open file outlives its name
}

TEST_P(EnvContract, Locks) {
  auto lock = env_.lock(root_ / "lock");
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(env_.lock(root_ / "lock").code(), ErrorCode::VaultBusy);
  std::move(lock).value().reset();
  EXPECT_TRUE(env_.lock(root_ / "lock").ok());
}

INSTANTIATE_TEST_SUITE_P(Machines, EnvContract, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Posix" : "Simulated"; });

TEST(SimEnv, CountsAndObservesSteps) {
  SimEnv env;
  std::vector<SimStep> seen;
  env.set_observer([&](SimStep kind, const Env::Path&) { seen.push_back(kind); });
  ASSERT_TRUE(write_file_durably(env, "/a", bytes_of("x")).ok());
  EXPECT_EQ(seen,
            (std::vector{SimStep::create, SimStep::write, SimStep::sync, SimStep::rename, SimStep::sync_directory}));
  EXPECT_EQ(env.steps(), 5U);
  EXPECT_EQ(env.steps(SimStep::sync), 1U);
}

TEST(SimEnv, WriteFileDurablyIsWholeOrAbsentAtEveryStep) {
  for (const CrashMode mode : {CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random}) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      for (std::uint64_t n = 0;; ++n) {
        ASSERT_LT(n, 50U);
        SimEnv env(seed);
        env.write("/a", bytes_of("old"));
        env.fail_after(n);
        const bool completed = write_file_durably(env, "/a", filled(2000, 9)).ok();
        env.crash(seed, mode);
        const Bytes after = env.read("/a");
        if (completed) {
          EXPECT_EQ(after, filled(2000, 9));
          break;
        }
        EXPECT_TRUE(text_of(after) == "old" || after == filled(2000, 9));
      }
    }
  }
}

TEST(SimEnv, WriteFileDurablyLeavesNoTemporaryFileAfterAFailure) {
  for (const bool full : {true, false}) {
    SimEnv env;
    env.write("/a", bytes_of("old"));
    if (full) {
      env.set_free_bytes(100);
    } else {
      env.fail_next_sync(1);
    }
    EXPECT_EQ(write_file_durably(env, "/a", filled(2000, 9)).code(), full ? ErrorCode::NoSpace : ErrorCode::IoError);
    EXPECT_EQ(text_of(env.read("/a")), "old");
    EXPECT_FALSE(env.exists("/a.tmp"));
  }
}

TEST(SimEnv, ThreadsMayShareIt) {
  SimEnv env;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&env, t] {
      const Env::Path path = "/file" + std::to_string(t);
      auto file = env.open(path, OpenMode::create_exclusive);
      ASSERT_TRUE(file.ok());
      for (std::size_t i = 0; i < 100; ++i) {
        ASSERT_TRUE((*file)->write_at(i, bytes_of("x")).ok());
        ASSERT_TRUE((*file)->sync().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(env.steps(SimStep::write), 400U);
  EXPECT_EQ(env.files().size(), 4U);
}

TEST(SimClock, MovesOnlyWhenTold) {
  SimEnv env;
  const UnixNanos start = env.clock().now();
  EXPECT_EQ(env.clock().now(), start);
  env.sim_clock().advance_seconds(5);
  EXPECT_EQ(env.clock().now().seconds(), start.seconds() + 5);
  const std::int64_t monotonic = env.clock().monotonic_nanos();
  env.sim_clock().set({1});
  EXPECT_EQ(env.clock().now().value, 1);
  EXPECT_EQ(env.clock().monotonic_nanos(), monotonic);
}

}  // namespace
}  // namespace vaultfs
