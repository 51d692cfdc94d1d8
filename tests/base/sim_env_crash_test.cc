#include <gtest/gtest.h>

#include <set>

#include "tests/base/sim_env_files.h"

namespace vaultfs {
namespace {

TEST(SimEnv, UnsyncedDataIsDroppedAndSyncedDataStays) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("synced"));
  ASSERT_TRUE(file->write_at(6, bytes_of(" and not")).ok());
  EXPECT_EQ(text_of(env.read("/a")), "synced and not");
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_EQ(text_of(env.read("/a")), "synced");
}

TEST(SimEnv, KeepAllKeepsUnsyncedData) {
  SimEnv env;
  auto file = create(env, "/a");
  ASSERT_TRUE(file->write_at(0, bytes_of("never synced")).ok());
  env.crash(1, CrashMode::keep_all);
  EXPECT_EQ(text_of(env.read("/a")), "never synced");
}

TEST(SimEnv, SyncedFileVanishesWithoutSyncOfItsDirectory) {
  SimEnv env;
  auto file = create(env, "/a");
  ASSERT_TRUE(file->write_at(0, bytes_of("x")).ok());
  ASSERT_TRUE(file->sync().ok());
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env.exists("/a"));
}

TEST(SimEnv, ANewDirectoryNeedsItsParentSynced) {
  SimEnv env;
  ASSERT_TRUE(env.make_directory("/d").ok());
  create_durable(env, "/d/a", bytes_of("x"));
  const auto before = env.snapshot();
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env.exists("/d"));
  env.restore(before);
  EXPECT_EQ(text_of(env.read("/d/a")), "x");
}

TEST(SimEnv, SyncedDirectoryEntryOfUnsyncedFileIsEmpty) {
  SimEnv env;
  auto file = create(env, "/a");
  ASSERT_TRUE(file->write_at(0, bytes_of("x")).ok());
  ASSERT_TRUE(env.sync_directory("/").ok());
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_TRUE(env.exists("/a"));
  EXPECT_TRUE(env.read("/a").empty());
}

TEST(SimEnv, UnsyncedRenameIsUndoneAndSyncedRenameStays) {
  for (const bool synced : {false, true}) {
    SimEnv env;
    create_durable(env, "/a", bytes_of("new"));
    create_durable(env, "/b", bytes_of("old"));
    ASSERT_TRUE(env.rename("/a", "/b").ok());
    EXPECT_EQ(text_of(env.read("/b")), "new");
    if (synced) {
      ASSERT_TRUE(env.sync_directory("/").ok());
    }
    env.crash(1, CrashMode::drop_all_unsynced);
    EXPECT_EQ(env.exists("/a"), !synced);
    EXPECT_EQ(text_of(env.read("/b")), synced ? "new" : "old");
  }
}

TEST(SimEnv, RenameIsAtomicInRandomCrashes) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimEnv env;
    create_durable(env, "/a", bytes_of("new"));
    create_durable(env, "/b", bytes_of("old"));
    ASSERT_TRUE(env.rename("/a", "/b").ok());
    env.crash(seed);
    ASSERT_TRUE(env.exists("/b"));
    EXPECT_EQ(env.exists("/a"), text_of(env.read("/b")) == "old");
    seen.emplace(text_of(env.read("/b")));
  }
  EXPECT_EQ(seen.size(), 2U);
}

TEST(SimEnv, AMoveBetweenDirectoriesNeverLosesTheFile) {
  bool in_both = false;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimEnv env;
    env.make_directories("/d");
    env.make_directories("/e");
    create_durable(env, "/d/a", bytes_of("x"));
    create(env, "/e/other");
    ASSERT_TRUE(env.rename("/d/a", "/e/b").ok());
    if (seed % 3 == 0) {
      ASSERT_TRUE(env.sync_directory("/d").ok());
    }
    env.crash(seed);
    ASSERT_TRUE(env.exists("/d/a") || env.exists("/e/b"));
    if (seed % 3 == 0) {
      EXPECT_FALSE(env.exists("/d/a"));
    }
    in_both = in_both || (env.exists("/d/a") && env.exists("/e/b"));
  }
  EXPECT_TRUE(in_both);
}

TEST(SimEnv, DirectoryChangesSurviveAsAPrefix) {
  std::set<std::size_t> counts;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SimEnv env;
    for (const char* name : {"/a", "/b", "/c"}) create(env, name);
    env.crash(seed);
    const auto files = env.files();
    counts.insert(files.size());
    if (env.exists("/c")) {
      EXPECT_TRUE(env.exists("/b"));
    }
    if (env.exists("/b")) {
      EXPECT_TRUE(env.exists("/a"));
    }
  }
  EXPECT_EQ(counts.size(), 4U);
}

TEST(SimEnv, UnsyncedRemovalMayComeBack) {
  SimEnv env;
  create_durable(env, "/a", bytes_of("x"));
  ASSERT_TRUE(env.remove_file("/a").ok());
  EXPECT_FALSE(env.exists("/a"));
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_EQ(text_of(env.read("/a")), "x");
  ASSERT_TRUE(env.remove_file("/a").ok());
  ASSERT_TRUE(env.sync_directory("/").ok());
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env.exists("/a"));
}

TEST(SimEnv, RandomCrashTearsWritesAtSectors) {
  bool whole = false;
  bool none = false;
  bool torn_sectors = false;
  bool cut_short = false;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    SimEnv env;
    auto file = create_durable(env, "/a", filled(4096, 1));
    ASSERT_TRUE(file->write_at(100, filled(3000, 2)).ok());
    env.crash(seed);
    const Bytes after = env.read("/a");
    ASSERT_EQ(after.size(), 4096U);
    std::vector<std::size_t> edges;  // where old and new content meet
    for (std::size_t i = 1; i < after.size(); ++i) {
      if (after[i] != after[i - 1]) edges.push_back(i);
    }
    for (std::size_t i = 0; i < after.size(); ++i) {
      ASSERT_TRUE(after[i] == std::byte{1} || (after[i] == std::byte{2} && i >= 100 && i < 3100));
    }
    whole = whole || edges == std::vector<std::size_t>{100, 3100};
    none = none || edges.empty();
    cut_short = cut_short || (edges.size() == 2 && edges[0] == 100 && edges[1] % 512 != 0 && edges[1] != 3100);
    torn_sectors = torn_sectors || edges.size() > 2;
  }
  EXPECT_TRUE(whole);
  EXPECT_TRUE(none);
  EXPECT_TRUE(torn_sectors);
  EXPECT_TRUE(cut_short);
}

TEST(SimEnv, UnsyncedTruncationIsKeptOrDropped) {
  std::set<std::size_t> sizes;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimEnv env;
    auto file = create_durable(env, "/a", filled(1000, 1));
    ASSERT_TRUE(file->truncate(10).ok());
    env.crash(seed);
    sizes.insert(env.read("/a").size());
  }
  EXPECT_EQ(sizes, (std::set<std::size_t>{10, 1000}));
}

TEST(SimEnv, TheSameSeedGivesTheSameDisk) {
  const auto run = [](std::uint64_t seed) {
    SimEnv env(7);
    Bytes noise(5000);
    env.fill_random(noise);
    auto file = create_durable(env, "/a", filled(100, 1));
    for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(file->write_at(i * 700, noise).ok());
    env.crash(seed);
    return env.read("/a");
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

TEST(SimEnv, HandlesAndLocksEndWithTheCrash) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("x"));
  auto lock = env.lock("/lock");
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(env.lock("/lock").code(), ErrorCode::VaultBusy);
  env.crash(1, CrashMode::keep_all);
  Bytes out(1);
  EXPECT_EQ(file->read_at(0, out).code(), ErrorCode::IoError);
  EXPECT_EQ(file->write_at(0, out).code(), ErrorCode::IoError);
  EXPECT_EQ(file->sync().code(), ErrorCode::IoError);
  EXPECT_EQ(file->truncate(0).code(), ErrorCode::IoError);
  EXPECT_EQ(file->size().code(), ErrorCode::IoError);
  auto again = env.lock("/lock");
  ASSERT_TRUE(again.ok());
  // The dead process's handle must not release the new owner's lock.
  std::move(lock).value().reset();
  EXPECT_EQ(env.lock("/lock").code(), ErrorCode::VaultBusy);
  std::move(again).value().reset();
  EXPECT_TRUE(env.lock("/lock").ok());
}

TEST(SimEnv, KilledProcessKeepsThePageCacheButNotItsDurability) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("old"));
  ASSERT_TRUE(file->write_at(0, bytes_of("new")).ok());
  env.kill_process();
  EXPECT_EQ(file->sync().code(), ErrorCode::IoError);
  EXPECT_EQ(text_of(env.read("/a")), "new");
  env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_EQ(text_of(env.read("/a")), "old");
}

TEST(SimEnv, FailAfterFailsEveryLaterStepUntilTheCrash) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("old"));
  env.fail_after(1);
  EXPECT_TRUE(file->write_at(0, bytes_of("one")).ok());
  EXPECT_FALSE(env.failure_reached());
  EXPECT_EQ(file->write_at(3, bytes_of("two")).code(), ErrorCode::IoError);
  EXPECT_TRUE(env.failure_reached());
  EXPECT_EQ(text_of(env.read("/a")), "one");
  EXPECT_EQ(file->sync().code(), ErrorCode::IoError);
  EXPECT_EQ(env.rename("/a", "/b").code(), ErrorCode::IoError);
  EXPECT_EQ(env.remove_file("/a").code(), ErrorCode::IoError);
  EXPECT_EQ(env.open("/c", OpenMode::create_exclusive).code(), ErrorCode::IoError);
  EXPECT_EQ(env.make_directory("/d").code(), ErrorCode::IoError);
  EXPECT_EQ(env.sync_directory("/").code(), ErrorCode::IoError);
  const auto before = env.snapshot();
  env.crash(1, CrashMode::keep_all);
  // The step that failed was in flight; the refused ones after it never happened.
  EXPECT_EQ(text_of(env.read("/a")), "onetwo");
  EXPECT_EQ(env.files().size(), 1U);
  auto reopened = env.open("/a", OpenMode::read_write);
  ASSERT_TRUE(reopened.ok());
  EXPECT_TRUE((*reopened)->write_at(0, bytes_of("x")).ok());
}

TEST(SimEnv, EveryKindOfStepCanBeInFlight) {
  for (const CrashMode mode : {CrashMode::keep_all, CrashMode::drop_all_unsynced}) {
    const bool kept = mode == CrashMode::keep_all;
    SimEnv env;
    create_durable(env, "/a", bytes_of("x"));
    env.fail_after(0);
    EXPECT_FALSE(env.rename("/a", "/b").ok());
    env.crash(1, mode);
    EXPECT_EQ(env.exists("/b"), kept);
    if (!kept) env.copy("/a", "/b");
    env.fail_after(0);
    EXPECT_FALSE(env.remove_file("/b").ok());
    EXPECT_TRUE(env.exists("/b"));
    env.crash(1, mode);
    EXPECT_EQ(env.exists("/b"), !kept);
    env.fail_after(0);
    EXPECT_FALSE(env.open("/c", OpenMode::create_exclusive).ok());
    EXPECT_FALSE(env.exists("/c"));
    env.crash(1, mode);
    EXPECT_EQ(env.exists("/c"), kept);
  }
}

TEST(SimEnv, WithoutACrashTheStepInFlightNeverHappened) {
  SimEnv env;
  auto file = create_durable(env, "/a", bytes_of("old"));
  env.fail_after(0);
  EXPECT_FALSE(file->write_at(0, bytes_of("new")).ok());
  env.clear_faults();
  EXPECT_TRUE(file->sync().ok());
  env.fail_after(0);
  EXPECT_FALSE(env.rename("/a", "/b").ok());
  env.kill_process();
  ASSERT_TRUE(env.sync_directory("/").ok());
  env.crash(1, CrashMode::keep_all);
  EXPECT_EQ(text_of(env.read("/a")), "old");
}

}  // namespace
}  // namespace vaultfs
