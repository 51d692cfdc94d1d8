// Crashes at every durable step of a vault's life: what was acknowledged is there afterwards, points are complete or
// absent.
#include <algorithm>

#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

using CrashTexts = std::vector<std::string>;

enum class After : std::uint8_t {
  drop_all,
  keep_all,
  random,
  kill_then_drop_all,  // kill -9, a new owner, then a power loss: the new owner must not build on what was never synced
};

constexpr After kAll[] = {After::drop_all, After::keep_all, After::random, After::kill_then_drop_all};

// What a scenario was promised.
struct Promised {
  CrashTexts points;
  CrashTexts texts;
  std::string attempted_point;  // a backup that may or may not have made its point
};

Status scenario(VaultWorld& world, Promised& promised) {
  VAULTFS_RETURN_IF_ERROR(world.open());
  VAULTFS_RETURN_IF_ERROR(world.write("t1"));
  VAULTFS_RETURN_IF_ERROR(world.vault->journal().commit());
  promised.texts.emplace_back("t1");
  promised.attempted_point = "vm1=second";
  VAULTFS_RETURN_IF_ERROR(world.back_up("vm1", "second"));
  promised.points.emplace_back("vm1=second");
  promised.texts.emplace_back("vm1=second");
  VAULTFS_RETURN_IF_ERROR(world.write("t2"));
  VAULTFS_RETURN_IF_ERROR(world.checkpoint());
  promised.texts.emplace_back("t2");
  VAULTFS_RETURN_IF_ERROR(world.vault->custody().rewrap(false));
  promised.attempted_point = "vm2=third";
  VAULTFS_RETURN_IF_ERROR(world.back_up("vm2", "third"));
  promised.points.emplace_back("vm2=third");
  promised.texts.emplace_back("vm2=third");
  return world.close();
}

void check(VaultWorld& world, const Promised& promised) {
  ASSERT_OK(world.open());
  const CrashTexts points = world.points();
  CrashTexts allowed = promised.points;
  if (points.size() > allowed.size()) allowed.push_back(promised.attempted_point);
  EXPECT_EQ(points, allowed);
  const CrashTexts& texts = world.tree.texts;
  ASSERT_GE(texts.size(), promised.texts.size());
  EXPECT_TRUE(std::equal(promised.texts.begin(), promised.texts.end(), texts.begin()));
  EXPECT_LE(texts.size(), promised.texts.size() + 1);
  for (const JobInfo& job : world.vault->catalogue().jobs()) EXPECT_NE(job.state, JobState::in_progress);
  EXPECT_TRUE(world.vault->activity().entries().ok());
  // No file is left over that nothing names.
  EXPECT_EQ(world.env.files("/vault/points").size(), points.size());
  EXPECT_LE(world.env.files("/vault/checkpoints").size(), 1U);
  for (const Env::Path& path : world.env.files("/vault")) EXPECT_NE(path.extension(), ".tmp") << path;
  // And the vault works.
  const auto next = world.back_up("vm9", "after");
  ASSERT_OK(next);
  for (const PointInfo& point : world.vault->catalogue().points()) {
    EXPECT_TRUE(point.number <= next->number);
  }
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points().size(), points.size() + 1);
  world.close_without_a_word();
}

TEST(VaultCrash, AtEveryStepOfALife) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.close());
  const SimEnv::Snapshot start = world.env.snapshot();
  std::uint64_t runs = 0;
  for (const After after : kAll) {
    for (std::uint64_t steps = 0;; ++steps) {
      SCOPED_TRACE("after " + std::to_string(static_cast<int>(after)) + " steps " + std::to_string(steps));
      world.close_without_a_word();
      world.env.restore(start);
      Promised promised;
      promised.points = {"vm1=first"};
      promised.texts = {"vm1=first"};
      world.env.fail_after(steps);
      const Status ended = scenario(world, promised);
      ++runs;
      switch (after) {
        case After::drop_all:
          world.env.crash(steps, CrashMode::drop_all_unsynced);
          break;
        case After::keep_all:
          world.env.crash(steps, CrashMode::keep_all);
          break;
        case After::random:
          world.env.crash(steps, CrashMode::random);
          break;
        case After::kill_then_drop_all:
          world.env.kill_process();
          ASSERT_OK(world.open());
          world.env.crash(steps, CrashMode::drop_all_unsynced);
          break;
      }
      check(world, promised);
      if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
      if (ended.ok()) break;
    }
  }
  EXPECT_GT(runs, 200U);
}

TEST(VaultCrash, AtEveryStepOfTheOpeningAfterACrash) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.write("t"));
  ASSERT_OK(world.vault->journal().commit());
  ASSERT_OK(world.vault->begin_job(JobKind::backup, "vm2"));
  ASSERT_OK(world.store("unfinished"));
  ASSERT_OK(world.vault->segments().sync());
  world.env.kill_process();
  world.close_without_a_word();
  const SimEnv::Snapshot start = world.env.snapshot();
  Promised promised;
  promised.points = {"vm1=first"};
  promised.texts = {"vm1=first", "t"};
  for (const CrashMode mode : {CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random}) {
    for (std::uint64_t steps = 0;; ++steps) {
      SCOPED_TRACE("steps " + std::to_string(steps));
      world.close_without_a_word();
      world.env.restore(start);
      world.env.fail_after(steps);
      const bool opened = world.open().ok() && !world.env.failure_reached();
      world.env.crash(steps, mode);
      check(world, promised);
      if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
      if (opened) break;
    }
  }
}

TEST(VaultCrash, AtEveryStepOfACreation) {
  for (const CrashMode mode : {CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random}) {
    for (std::uint64_t steps = 0;; ++steps) {
      SCOPED_TRACE("steps " + std::to_string(steps));
      VaultWorld world(steps + 1);
      world.env.fail_after(steps);
      const bool created = world.create().ok();
      world.env.crash(steps, mode);
      const Status opened = world.open();
      if (created) {
        ASSERT_OK(opened);
      } else if (!opened.ok()) {
        // Half a vault says what it is, and that it was never trusted.
        const ErrorCode code = opened.code();
        EXPECT_TRUE(code == ErrorCode::VaultNotFound || code == ErrorCode::NotAVault ||
                    code == ErrorCode::VaultUnverified)
            << error_name(code);
      }
      if (created) break;
    }
  }
}

// Between a keyring and the job of its update: what the next owner records of it is written behind a head that names
// the journal.
TEST(VaultCrash, NothingIsRecordedBeforeAHeadNamesTheJournal) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
  const SimEnv::Snapshot start = world.env.snapshot();
  bool recorded = false;
  for (std::uint64_t steps = 0;; ++steps) {
    SCOPED_TRACE(steps);
    world.close_without_a_word();
    world.env.restore(start);
    ASSERT_OK(world.open());
    const std::size_t jobs = world.vault->catalogue().jobs().size();
    world.env.fail_after(steps);
    const Status changed = world.vault->custody().rewrap(false);
    const bool done = !world.env.failure_reached();
    world.close_without_a_word();
    world.env.crash(steps, CrashMode::keep_all);
    bool headed = false;
    bool too_early = false;
    world.env.set_observer([&](SimStep step, const Env::Path& path) {
      headed = headed || (step == SimStep::sync_directory && path.filename() == "heads");
      too_early = too_early || (step == SimStep::write && path.extension() == ".journal" && !headed);
    });
    ASSERT_OK(world.open());
    world.env.set_observer({});
    EXPECT_FALSE(too_early);
    const auto entries = world.vault->activity().entries();
    ASSERT_OK(entries);
    for (const ActivityEntry& entry : *entries) recorded = recorded || entry.detail == "recorded after a crash";
    EXPECT_LE(world.vault->catalogue().jobs().size(), jobs + 1);
    if (done) break;
  }
  EXPECT_TRUE(recorded);
}

}  // namespace
}  // namespace vaultfs
