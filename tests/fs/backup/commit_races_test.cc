// What writers do while a commit is under way, on a simulated disk.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "fs/backup/item_jobs.h"
#include "fs/engine/vault_engine.h"
#include "fs/upkeep/compactor.h"
#include "tests/fs/tree/snapshot_bytes.h"
#include "tests/support/step_stop.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class CommitRacesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    ASSERT_OK(open());
    const auto directory = engine->tree().make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(directory);
    disk = engine->tree().make_node(directory->number, "disk", InodeType::file, 0644, 0, {})->number;
    other = engine->tree().make_node(directory->number, "other", InodeType::file, 0644, 0, {})->number;
  }
  Status open() {
    VaultEngine::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.manual_commit = true;
    options.tree.flush_seconds = 0;
    options.tree.store_workers = 1;
    VAULTFS_ASSIGN_OR_RETURN(engine, VaultEngine::open(world.machine(), options));
    return ok_status();
  }
  [[nodiscard]] JobInfo newest_job() { return engine->vault().catalogue().jobs().back(); }

  VaultWorld world;
  std::unique_ptr<VaultEngine> engine;
  InodeNumber disk, other;
};

Bytes mixed(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

TEST_F(CommitRacesTest, WhatIsWrittenMeanwhileHasAJobAtTheEnd) {
  ASSERT_OK(engine->tree().write(disk, 0, 0, mixed(1, 5000)));
  std::atomic<bool> written{false};
  StepStop stop(world.env, [&](SimStep step, const Env::Path& path) {
    if (is_write_in("segments", step, path) && !written.exchange(true)) {
      EXPECT_TRUE(engine->tree().write(other, 0, 0, mixed(2, 100)).ok());
    }
    return false;
  });
  const auto outcome = engine->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  ASSERT_TRUE(written);
  EXPECT_EQ(newest_job().state, JobState::in_progress);
  EXPECT_GT(newest_job().number, outcome->job.number);
  // A crash now is an interruption of that.
  ASSERT_OK(engine->tree().sync_all());
  engine.reset();
  world.env.kill_process();
  world.start_machine("/home");
  ASSERT_OK(open());
  EXPECT_EQ(newest_job().state, JobState::interrupted);
  EXPECT_TRUE(engine->vault().catalogue().item("vm")->interrupted);
}

// What the point refers to is referred to by nothing else while its manifest is being written.
TEST_F(CommitRacesTest, ACompactionLeavesThePointUnderWayAlone) {
  ASSERT_OK(engine->tree().write(disk, 0, 0, mixed(1, 5000)));
  std::atomic<bool> tried{false};
  StepStop stop(world.env, [&](SimStep step, const Env::Path& path) {
    if (step == SimStep::create && path.parent_path().filename() == "points" && !tried.exchange(true)) {
      // As somebody else would.
      std::thread([&] {
        const auto compacted = Compactor(engine->vault(), engine->tree()).compact_now();
        EXPECT_TRUE(compacted.ok() && !*compacted);
      }).join();
    }
    return false;
  });
  ASSERT_OK(engine->commit("vm"));
  EXPECT_TRUE(tried);
}

// The jobs of a vault on a simulated disk, without a engine's timers.
class JobsAfterFailuresTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    WorkingTree::Options options;
    options.flush_seconds = 0;
    options.store_workers = 1;
    tree = WorkingTree::create(options);
    VaultOpenOptions open;
    open.path = "/vault";
    auto opened = Vault::open(world.machine(), open, *tree);
    ASSERT_OK(opened);
    vault = std::move(*opened);
    refresher = std::make_unique<KeyRefresher>(vault->custody(), world.env.clock(), false);
    jobs = std::make_unique<ItemJobs>(*vault, *tree, *refresher, ItemJobs::Options{});
    tree->start(*vault, *jobs);
    jobs->take_stock();
  }
  void TearDown() override {
    if (tree != nullptr) {
      EXPECT_TRUE(tree->stop().ok());
    }
    tree.reset();
    jobs.reset();
  }
  // A change whose commit fails when everything but its manifest is stored.
  void fail_a_commit() {
    const auto directory = tree->make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(directory);
    const auto file = tree->make_node(directory->number, "disk", InodeType::file, 0644, 0, {});
    ASSERT_OK(file);
    ASSERT_OK(tree->write(file->number, 0, 0, mixed(1, 5000)));
    std::atomic<bool> failed{false};
    StepStop stop(world.env, [&](SimStep step, const Env::Path& path) {
      if (step == SimStep::create && path.parent_path().filename() == "points" && !failed.exchange(true)) {
        world.env.fail_next_write(1);
      }
      return false;
    });
    EXPECT_FALSE(jobs->commit("vm").ok());
    EXPECT_TRUE(failed);
    EXPECT_TRUE(vault->catalogue().points().empty());
  }
  // Time passes; the timers look before and after.
  void pass(std::int64_t seconds) {
    jobs->commit_due();
    world.env.sim_clock().advance_seconds(seconds);
    jobs->commit_due();
  }

  VaultWorld world;
  std::unique_ptr<Vault> vault;
  std::unique_ptr<WorkingTree> tree;
  std::unique_ptr<KeyRefresher> refresher;
  std::unique_ptr<ItemJobs> jobs;
};

TEST_F(JobsAfterFailuresTest, WhatACommitCouldNotPublishIsAdoptedLater) {
  ASSERT_NO_FATAL_FAILURE(fail_a_commit());
  pass(16 * 60);
  pass(60);
  EXPECT_EQ(vault->catalogue().points().size(), 1U);
}

TEST_F(JobsAfterFailuresTest, WhatACommitCouldNotPublishIsAdoptedAtTheEnd) {
  ASSERT_NO_FATAL_FAILURE(fail_a_commit());
  ASSERT_OK(jobs->close());
  EXPECT_EQ(vault->catalogue().points().size(), 1U);
}

}  // namespace
}  // namespace vaultfs
