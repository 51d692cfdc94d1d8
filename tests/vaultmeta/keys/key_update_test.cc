// The outcome of the newest change of keys: one stored fact, of an owner and of a reader, mounted and not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/vault/encryption_status.h"

namespace vaultfs {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

void create_customer_managed(VaultWorld& world) {
  world.kv->add_version("kek");
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
}

// As the owner has it, then as a reader has it while nobody owns the vault.
std::string told(VaultWorld& world) {
  const std::string owner = encryption_status(*world.vault).last_update_status;
  EXPECT_TRUE(world.close().ok());
  EXPECT_TRUE(world.open_read_only().ok());
  EXPECT_EQ(encryption_status(*world.vault).last_update_status, owner);
  EXPECT_TRUE(world.open().ok());
  EXPECT_EQ(encryption_status(*world.vault).last_update_status, owner);
  return owner;
}

// A rotation that fails: the new version wraps nothing that opens again.
void fail_a_rotation(VaultWorld& world) {
  world.kv->add_version("kek");
  world.kv->wrap_garbage = true;
  EXPECT_FALSE(world.vault->custody().refresh().ok());
}

std::size_t key_updates(VaultWorld& world) {
  std::size_t count = 0;
  for (const JobInfo& job : world.vault->catalogue().jobs()) count += job.kind == JobKind::key_update ? 1 : 0;
  return count;
}

TEST(KeyUpdate, ACreationUnderACustomerManagedKeyIsOne) {
  VaultWorld world;
  create_customer_managed(world);
  ASSERT_OK(world.open_read_only());
  const auto jobs = world.vault->catalogue().jobs();
  ASSERT_EQ(jobs.size(), 1U);
  EXPECT_EQ(jobs.front().kind, JobKind::key_update);
  EXPECT_EQ(jobs.front().state, JobState::completed);
  EXPECT_THAT(jobs.front().detail, StartsWith("vault.create "));
  ASSERT_OK(world.open());
  EXPECT_EQ(told(world), "Succeeded");
  EXPECT_EQ(key_updates(world), 1U) << "opening makes it no second time";
}

TEST(KeyUpdate, AVaultWithoutOneHasNone) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  EXPECT_EQ(told(world), "None");
  EXPECT_TRUE(world.vault->catalogue().jobs().empty());
}

TEST(KeyUpdate, AFailedOneIsToldUntilTheNextChangeOfKeys) {
  VaultWorld world;
  create_customer_managed(world);
  ASSERT_OK(world.open());
  fail_a_rotation(world);
  EXPECT_THAT(told(world), StartsWith("Failed: key.take-effect "));
  // Neither a backup, nor another setting, nor an opening is one.
  ASSERT_OK(world.back_up("vm", "content"));
  EXPECT_THAT(told(world), StartsWith("Failed: "));
  ASSERT_OK(world.vault->custody().set_limits({10, {}, {}}));
  EXPECT_THAT(told(world), StartsWith("Failed: "));
  world.kv->wrap_garbage = false;
  ASSERT_OK(world.vault->custody().refresh());
  EXPECT_EQ(told(world), "Succeeded");
}

// In one refresh an older version retires and a newer one fails: what was tried last has failed.
TEST(KeyUpdate, ARetirementDoesNotHideThatTheNewVersionFailed) {
  VaultWorld world;
  create_customer_managed(world);
  ASSERT_OK(world.open());
  world.kv->add_version("kek");
  ASSERT_OK(world.vault->custody().refresh());
  const std::string third = world.kv->add_version("kek");
  world.kv->info("kek", third).key_type = "EC";
  ASSERT_OK(world.back_up("vm", "content"));  // and its refresh
  EXPECT_EQ(world.vault->custody().status().versions.front().role, VersionRole::retired);
  EXPECT_THAT(told(world), HasSubstr(third));
  EXPECT_THAT(told(world), StartsWith("Failed: "));
}

TEST(KeyUpdate, ItOutlivesThePruningOfJobs) {
  VaultWorld world;
  create_customer_managed(world);
  ASSERT_OK(world.open());
  fail_a_rotation(world);
  world.kv->wrap_garbage = false;
  for (std::size_t i = 0; i < Catalogue::kMaxEndedJobs + 5; ++i) {
    JobInfo job;
    job.number = world.vault->catalogue().take_job_number();
    job.kind = JobKind::restore;
    job.state = JobState::completed;
    job.begun = Lsn(1);
    ASSERT_OK(world.vault->log_catalogue(world.vault->catalogue().put(job)));
  }
  EXPECT_EQ(world.vault->catalogue().jobs().size(), Catalogue::kMaxEndedJobs);
  EXPECT_THAT(told(world), StartsWith("Failed: "));
}

// The power goes at each step of a rotation: the keyring and the list of jobs tell the same afterwards.
TEST(KeyUpdate, ACrashBetweenKeyringAndJobLosesNone) {
  bool crashed = true;
  for (std::uint64_t steps = 0; crashed; ++steps) {
    SCOPED_TRACE(steps);
    ASSERT_LT(steps, 400U);
    VaultWorld world;
    create_customer_managed(world);
    ASSERT_OK(world.open());
    world.kv->wrap_garbage = true;
    const std::string second = world.kv->add_version("kek");
    static_cast<void>(world.vault->custody().refresh());
    world.kv->wrap_garbage = false;
    world.env.fail_after(steps);
    static_cast<void>(world.vault->custody().refresh());
    crashed = world.env.failure_reached();
    world.close_without_a_word();
    world.env.crash(steps + 1, CrashMode::random);
    ASSERT_OK(world.open_read_only());
    const bool done = world.vault->custody().status().versions.back().version == second;
    const std::string reader = encryption_status(*world.vault).last_update_status;
    EXPECT_EQ(reader == "Succeeded", done) << reader;
    ASSERT_OK(world.open());
    EXPECT_EQ(encryption_status(*world.vault).last_update_status, reader);
    const auto newest = world.vault->catalogue().last_key_update();
    ASSERT_TRUE(newest.has_value());
    EXPECT_EQ(newest->state == JobState::completed, done) << newest->detail;
  }
}

}  // namespace
}  // namespace vaultfs
