// What was attempted and came to nothing: jobs that could not begin, attempts that the machine kept.
#include <algorithm>

#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

std::vector<std::string> operations_of(Vault& vault) {
  std::vector<std::string> operations;
  const auto entries = vault.activity().entries();
  EXPECT_TRUE(entries.ok());
  if (!entries.ok()) return operations;
  for (const ActivityEntry& entry : *entries) operations.push_back(entry.operation);
  return operations;
}

std::size_t count_jobs(Vault& vault, JobState state) {
  const std::vector<JobInfo> jobs = vault.catalogue().jobs();
  return static_cast<std::size_t>(std::ranges::count(jobs, state, &JobInfo::state));
}

bool ever_attempted(Vault& vault) { return vault.custody().status().settings.item_ever_attempted; }

TEST(VaultAttempts, AJobThatCanNotBeginOnAFullDiskLeavesNoJobInProgressAndNoItem) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  world.env.fail_next_write(1000, ErrorCode::NoSpace);
  for (const auto& [kind, item] : {std::pair(JobKind::backup, "vm2"), std::pair(JobKind::restore, "vm1")}) {
    const auto begun = world.vault->begin_job(kind, item);
    ASSERT_FALSE(begun.ok());
    EXPECT_EQ(begun.code(), ErrorCode::NoSpace);
  }
  EXPECT_EQ(count_jobs(*world.vault, JobState::in_progress), 0U);
  EXPECT_EQ(count_jobs(*world.vault, JobState::failed), 2U);
  EXPECT_FALSE(world.vault->catalogue().item("vm2").has_value());
  world.env.clear_faults();
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_EQ(count_jobs(*world.vault, JobState::failed), 2U) << "written when there was room";
  EXPECT_EQ(count_jobs(*world.vault, JobState::interrupted), 0U);
  EXPECT_FALSE(world.vault->catalogue().item("vm2").has_value());
}

TEST(VaultAttempts, WhatTheJournalRefusesDoesNotChangeTheCatalogue) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto point = world.back_up("vm1", "a", true);
  ASSERT_OK(point);
  auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  world.env.fail_after(0);
  EXPECT_FALSE(world.vault->journal().append(EntryOwner::tree, to_bytes(bytes_of("x"))).ok() &&
               world.vault->journal().commit().ok());
  ASSERT_TRUE(world.vault->journal().dead());
  EXPECT_FALSE(world.vault->begin_job(JobKind::backup, "vm9").ok());
  EXPECT_FALSE(world.vault->register_item("vm9").ok());
  EXPECT_FALSE(world.vault->set_reencrypting(true).ok());
  job->state = JobState::completed_no_change;
  EXPECT_FALSE(world.vault->finish_job(*job, point->number).ok());
  const Catalogue& catalogue = world.vault->catalogue();
  EXPECT_FALSE(catalogue.item("vm9").has_value());
  EXPECT_FALSE(catalogue.reencrypting());
  EXPECT_TRUE(catalogue.point(point->number)->automatic) << "not turned: nothing would keep that";
  EXPECT_EQ(count_jobs(*world.vault, JobState::in_progress), 0U) << "the job is over all the same";
}

TEST(VaultAttempts, WhatWasAskedForIsAFailedJobAndAnActivityRecord) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  EXPECT_FALSE(ever_attempted(*world.vault));
  JobInfo attempt;
  attempt.kind = JobKind::backup;
  attempt.item = "not/a name";
  attempt.state = JobState::failed;
  attempt.detail = "InvalidName: an item has no such name";
  world.vault->record_attempt(attempt);
  EXPECT_TRUE(ever_attempted(*world.vault)) << "an attempt, however early it failed";
  attempt.kind = JobKind::restore;
  attempt.item = "vm1";
  attempt.state = JobState::cancelled;
  world.vault->record_attempt(attempt);
  EXPECT_EQ(operations_of(*world.vault), (Texts{"vault.create", "backup.fail", "restore.cancel"}));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  const std::vector<JobInfo> jobs = world.vault->catalogue().jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].item, "");
  EXPECT_EQ(jobs[0].detail, attempt.detail);
  EXPECT_EQ(jobs[1].item, "vm1");
  EXPECT_EQ(jobs[1].state, JobState::cancelled);
  EXPECT_FALSE(world.vault->catalogue().item("vm1").has_value());
}

TEST(VaultAttempts, TheMachineKeepsThemForTheNextOpening) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const VaultId id = world.vault->header().id;
  ASSERT_OK(world.close());
  world.close_without_a_word();
  const UnixNanos time = world.env.clock().now();
  ASSERT_OK(world.machine_state->keep_attempt(id, "/vault", {time, 1000, "backup", "KeyRevoked"}));
  ASSERT_OK(world.machine_state->keep_attempt(id, "/vault", {time, 1000, "restore", "Succeeded"}));
  ASSERT_OK(world.machine_state->keep_attempt(id, "/elsewhere", {time, 0, "backup", "VaultNotFound"}));
  const auto audit = world.machine_state->audit_entries();
  ASSERT_OK(audit);
  EXPECT_EQ(std::ranges::count(*audit, "backup.attempt", &AuditEntry::what), 2);
  EXPECT_NE(audit->back().detail.find(to_hex(id.view())), std::string::npos);

  ASSERT_OK(world.open());
  EXPECT_EQ(operations_of(*world.vault), (Texts{"vault.create", "backup.fail", "restore.complete"}));
  EXPECT_TRUE(ever_attempted(*world.vault));
  const std::vector<JobInfo> jobs = world.vault->catalogue().jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].state, JobState::failed);
  EXPECT_EQ(jobs[0].ended, time);
  EXPECT_TRUE(jobs[0].detail.starts_with("KeyRevoked: ")) << jobs[0].detail;
  EXPECT_EQ(jobs[1].kind, JobKind::restore);
  EXPECT_EQ(jobs[1].state, JobState::completed);
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->catalogue().jobs().size(), 2U) << "once";
  EXPECT_EQ(world.machine_state->kept_attempts(id, "/elsewhere")->size(), 1U);
}

TEST(VaultAttempts, ADamagedListOfThemKeepsNobodyFromWorking) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const VaultId id = world.vault->header().id;
  ASSERT_OK(world.machine_state->keep_attempt(id, "/vault", {UnixNanos{5}, 0, "backup", "IoError"}));
  for (const auto& file : world.env.files("/home/attempts")) world.env.cut(file, 10);
  EXPECT_EQ(world.machine_state->kept_attempts(id, "/vault").code(), ErrorCode::DamagedMachineState);
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->take_warnings().size(), 1U);
  ASSERT_OK(world.machine_state->keep_attempt(id, "/vault", {UnixNanos{6}, 0, "backup", "IoError"}));
  EXPECT_EQ(world.machine_state->kept_attempts(id, "/vault")->size(), 1U);
}

}  // namespace
}  // namespace vaultfs
