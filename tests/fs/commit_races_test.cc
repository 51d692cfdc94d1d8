// What writers do while a commit is under way, on a simulated disk.
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "fs/session.h"
#include "tests/fs/snapshot_bytes.h"
#include "tests/support/step_stop.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault_world.h"

namespace vaultfs {
namespace {

class CommitRacesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    ASSERT_OK(open());
    const auto directory = session->tree().make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(directory);
    disk = session->tree().make_node(directory->number, "disk", InodeType::file, 0644, 0, {})->number;
    other = session->tree().make_node(directory->number, "other", InodeType::file, 0644, 0, {})->number;
  }
  Status open() {
    Session::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.manual_commit = true;
    options.tree.flush_seconds = 0;
    options.tree.sealing_workers = 1;
    VAULTFS_ASSIGN_OR_RETURN(session, Session::open(world.machine(), options));
    return ok_status();
  }
  [[nodiscard]] JobInfo newest_job() { return session->vault().catalogue().jobs().back(); }

  VaultWorld world;
  std::unique_ptr<Session> session;
  InodeNumber disk, other;
};

Bytes mixed(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

TEST_F(CommitRacesTest, WhatIsWrittenMeanwhileHasAJobAtTheEnd) {
  ASSERT_OK(session->tree().write(disk, 0, 0, mixed(1, 5000)));
  std::atomic<bool> written{false};
  StepStop stop(world.env, [&](SimStep step, const Env::Path& path) {
    if (is_write_in("segments", step, path) && !written.exchange(true)) {
      EXPECT_TRUE(session->tree().write(other, 0, 0, mixed(2, 100)).ok());
    }
    return false;
  });
  const auto outcome = session->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  ASSERT_TRUE(written);
  EXPECT_EQ(newest_job().state, JobState::in_progress);
  EXPECT_GT(newest_job().number, outcome->job.number);
  // A crash now is an interruption of that.
  ASSERT_OK(session->tree().sync_all());
  session.reset();
  world.env.kill_process();
  world.start_machine("/home");
  ASSERT_OK(open());
  EXPECT_EQ(newest_job().state, JobState::interrupted);
  EXPECT_TRUE(session->vault().catalogue().item("vm")->interrupted);
}

}  // namespace
}  // namespace vaultfs
