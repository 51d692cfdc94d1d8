#include "vaultmeta/vault/vault.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

TEST(Vault, KeepsPointsJobsAndTreeOverOpenings) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_TRUE(world.vault->opening_notes().empty()) << world.vault->opening_notes().front();
  ASSERT_OK(world.write("x"));
  const auto second = world.back_up("vm1", "second");
  ASSERT_OK(second);
  EXPECT_EQ(second->number, PointNumber(2));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open_read_only());
  EXPECT_EQ(world.points(), (Texts{"vm1=first", "vm1=second"}));
  EXPECT_EQ(world.tree.texts, (Texts{"vm1=first", "x", "vm1=second"}));
  const auto jobs = world.vault->catalogue().jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[1].state, JobState::completed);
  EXPECT_EQ(jobs[1].point, PointNumber(2));
  // A checkpoint leaves one of its kind, and no journal older than it needs.
  EXPECT_EQ(world.env.files("/vault/checkpoints").size(), 1U);
  EXPECT_LE(world.env.files("/vault/journal").size(), 2U);
}

TEST(Vault, ClosesAndReopensWithoutACheckpoint) {
  VaultWorld world;
  ASSERT_OK(world.create());
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(world.open());
    ASSERT_OK(world.write("t" + std::to_string(i)));
    ASSERT_OK(world.vault->close());
  }
  ASSERT_OK(world.open());
  EXPECT_EQ(world.tree.texts, (Texts{"t0", "t1", "t2"}));
}

TEST(Vault, HasOneOwner) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ListTree other;
  VaultOpenOptions options;
  options.path = "/vault";
  const auto second = Vault::open(world.machine(), options, other);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), ErrorCode::VaultBusy);
  EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())), std::string::npos);
}

TEST(Vault, ReadOnlyOpeningWritesNothing) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.write("later"));
  ASSERT_OK(world.vault->journal().commit());
  world.env.write("/vault/points/00000000000000aa.point.tmp", bytes_of("x"));
  const auto before = world.files("/");
  // Beside the owner, who has a journal, an open segment and the lock.
  ListTree reader;
  VaultOpenOptions options;
  options.path = "/vault";
  options.read_only = true;
  auto second = Vault::open(world.machine(), options, reader);
  ASSERT_OK(second);
  EXPECT_EQ(reader.texts, (Texts{"vm1=first", "later"}));
  EXPECT_EQ((*second)->catalogue().points().size(), 1U);
  EXPECT_EQ((*second)->begin_job(JobKind::backup, "vm1").code(), ErrorCode::ReadOnly);
  EXPECT_EQ((*second)->write_head().code(), ErrorCode::ReadOnly);
  EXPECT_EQ((*second)->log_catalogue({}).code(), ErrorCode::ReadOnly);
  second->reset();
  EXPECT_EQ(world.files("/"), before);
}

TEST(Vault, UnfinishedJobsBecomeInterruptedAndMarkTheirItem) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  ASSERT_OK(world.vault->register_item("vm1"));
  ASSERT_OK(world.vault->journal().commit());
  world.env.kill_process();
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::interrupted);
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
  const auto automatic = world.back_up("vm1", "a", true);
  ASSERT_OK(automatic);
  EXPECT_TRUE(automatic->after_interruption);
  const auto wanted = world.back_up("vm1", "b");
  ASSERT_OK(wanted);
  EXPECT_FALSE(wanted->after_interruption);
  EXPECT_FALSE(world.vault->catalogue().item("vm1")->interrupted);
  const auto clean = world.back_up("vm1", "c", true);
  ASSERT_OK(clean);
  EXPECT_FALSE(clean->after_interruption);
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.vault->catalogue().item("vm1")->interrupted);
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=b", "vm1=c"}));
  const auto entries = world.vault->activity().entries();
  ASSERT_OK(entries);
  Texts operations;
  for (const ActivityEntry& entry : *entries) operations.push_back(entry.operation);
  EXPECT_EQ(operations,
            (Texts{"vault.create", "backup.begin", "backup.interrupted", "vault.open", "backup.begin",
                   "backup.complete", "backup.begin", "backup.complete", "backup.begin", "backup.complete"}));
}

TEST(Vault, FinishJobWithoutAPoint) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto point = world.back_up("vm1", "a", true);
  ASSERT_OK(point);
  auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  EXPECT_EQ(code_of(world.vault->finish_job(*job, std::nullopt)), ErrorCode::InvalidArgument);
  job->state = JobState::completed_no_change;
  EXPECT_EQ(code_of(world.vault->finish_job(*job, PointNumber(77))), ErrorCode::RecoveryPointNotFound);
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::in_progress);
  ASSERT_OK(world.vault->finish_job(*job, point->number));
  auto failed = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(failed);
  failed->state = JobState::failed;
  failed->detail = "IoError";
  ASSERT_OK(world.vault->finish_job(*failed, std::nullopt));
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
  world.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.vault->catalogue().find_point("vm1", "")->automatic);
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::completed_no_change);
  EXPECT_EQ(world.vault->catalogue().job(failed->number)->detail, "IoError");
  EXPECT_TRUE(world.vault->catalogue().item("vm1")->interrupted);
}

TEST(Vault, APointThatIsNoTreeIsRefusedAndOneThatNamesWhatIsGoneIsMadeWithAWarning) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto job = world.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  auto manifest = world.store("a");
  ASSERT_OK(manifest);
  PointInfo point;
  point.item = "vm1";
  Manifest broken = *manifest;
  broken.inodes[0].entries.pop_back();
  EXPECT_EQ(code_of(world.vault->publish_point(broken, point, *job)), ErrorCode::DamagedManifest);
  point.item = "vm2";
  EXPECT_EQ(code_of(world.vault->publish_point(*manifest, point, *job)), ErrorCode::ItemNotFound);
  EXPECT_TRUE(world.vault->catalogue().points().empty());
  point.item = "vm1";
  Manifest lost = *manifest;
  lost.inodes[1].chunks[0].mutable_view()[0] ^= std::byte{1};
  ASSERT_OK(world.vault->publish_point(lost, point, *job));
  EXPECT_EQ(world.vault->catalogue().job(job->number)->state, JobState::completed_with_warnings);
  EXPECT_EQ(world.vault->catalogue().points().size(), 1U);
}

TEST(Vault, TheInventoryNamesTheSegmentsAndTheirLengths) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  ASSERT_OK(world.back_up("vm2", "b"));
  const auto point = world.back_up("vm1", "a");  // everything is there already
  ASSERT_OK(point);
  const auto manifest = world.vault->load_manifest(*point);
  ASSERT_OK(manifest);
  ASSERT_EQ(manifest->inventory.size(), 1U);
  EXPECT_EQ(manifest->inventory[0].number, ContainerNumber(1));
  EXPECT_EQ(manifest->inventory[0].file_bytes, world.env.read("/vault/segments/0000000000000001.seg").size());
}

TEST(Vault, KeepsAThousandHeadsAndOpensFromAnyPinAmongThem) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  for (int i = 0; i < 1040; ++i) ASSERT_OK(world.vault->write_head());
  EXPECT_EQ(world.env.files("/vault/heads").size(), 1024U + 1U) << "and the pack of those before";
  // The pin of a machine that was restored from a backup taken a thousand heads ago.
  const auto home = world.files("/home");
  for (int i = 0; i < 1000; ++i) ASSERT_OK(world.vault->write_head());
  world.close_without_a_word();
  world.put_back(home, "/home");
  ASSERT_OK(world.open());
}

TEST(Vault, AFullDiskRefusesThePointAndTheVaultGoesOnAfterwards) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  world.env.set_free_bytes(3000);
  std::string incompressible(200'000, ' ');
  std::mt19937 random(3);
  for (char& c : incompressible) c = static_cast<char>(random());
  EXPECT_EQ(world.back_up("vm1", incompressible).code(), ErrorCode::NoSpace);
  world.env.set_unlimited_space();
  world.close_without_a_word();
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  ASSERT_OK(world.back_up("vm1", "c"));
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=c"}));
}

}  // namespace
}  // namespace vaultfs
