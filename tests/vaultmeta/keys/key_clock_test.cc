// Clocks that go back or were ahead, versions that expire: what is told of keys promises no less than is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/keys/custody_steps.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kDaySeconds = 24 * 3600;
constexpr std::int64_t kTwoYearsSeconds = 2 * 365 * kDaySeconds;

void go_back(SimEnv& env, std::int64_t seconds) {
  env.sim_clock().set({env.clock().now().value - seconds * kNanosPerSecond});
}

TEST(KeyClock, ARetirementIsNotBeforeWhatTheVaultHasSeen) {
  VaultWorld world;
  world.kv->add_version("kek");
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm", "before"));
  world.env.sim_clock().advance_seconds(30 * kDaySeconds);
  const UnixNanos copied = world.env.clock().now();
  ASSERT_OK(world.back_up("vm", "newer"));
  world.kv->add_version("kek");
  ASSERT_OK(world.close());

  go_back(world.env, kTwoYearsSeconds);
  ASSERT_OK(world.open());
  ASSERT_OK(world.vault->custody().refresh());
  ASSERT_OK(world.back_up("vm", "after"));
  const VersionRecord first = world.vault->custody().status().versions.front();
  ASSERT_EQ(first.role, VersionRole::retired);
  EXPECT_GE(first.role_since, copied) << "a copy of that time needs it";
  EXPECT_TRUE(first.since_uncertain);
  // Which copies need it is told by a sequence.
  EXPECT_GT(first.role_generation.value, 1U);
  EXPECT_LE(first.role_generation, world.vault->custody().generation());
  ASSERT_OK(world.close());
  ASSERT_OK(world.open_read_only());
  EXPECT_EQ(world.vault->custody().status().versions.front(), first);
}

TEST(KeyClock, EveryEventOfKeysComesAfterTheOneBefore) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  go_back(world.env, kTwoYearsSeconds);
  world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  refresh(world);
  const auto versions = world.custody->status().versions;
  ASSERT_EQ(versions.size(), 3U);
  EXPECT_EQ(versions[2].role, VersionRole::active);
  for (std::size_t i = 1; i < versions.size(); ++i) {
    EXPECT_GE(versions[i].took_effect, versions[i - 1].took_effect);
    EXPECT_GE(versions[i - 1].role_since, versions[i].took_effect) << "it retired after its successor took effect";
  }
  EXPECT_GE(world.custody->status().last_update->time, versions[2].took_effect);
}

TEST(KeyClock, AClockThatIsRightIsTakenAtItsWord) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  world.env.sim_clock().advance_seconds(5);
  complete_backup(world);
  refresh(world);
  const VersionRecord first = world.custody->status().versions.front();
  EXPECT_EQ(first.role_since, world.env.clock().now());
  EXPECT_FALSE(first.since_uncertain);
}

// --- an Active version that expires

TEST(KeyExpiryTest, IsToldFromThirtyDaysBefore) {
  CustodyWorld world;
  world.create();
  refresh(world);
  EXPECT_FALSE(world.custody->status().expiry);
  world.kv->info("kek", world.v1).expires = world.env.clock().now().seconds() + 30 * kDaySeconds + 1;
  refresh(world);
  EXPECT_FALSE(world.custody->status().expiry);
  world.env.sim_clock().advance_seconds(1);
  ASSERT_TRUE(world.custody->status().expiry);
  EXPECT_FALSE(world.custody->status().expiry->expired);
  ASSERT_OK(world.open(true));
  ASSERT_TRUE(world.custody->status().expiry) << "a reader tells it too";
  EXPECT_EQ(world.custody->status().expiry->name.version, world.v1);
  world.env.sim_clock().advance_seconds(30 * kDaySeconds);
  EXPECT_TRUE(world.custody->status().expiry->expired);
  const auto drills = world.custody->drill();
  ASSERT_OK(drills);
  ASSERT_TRUE(drills->front().expiry);
  EXPECT_TRUE(drills->front().expiry->expired);
  // The next version has no end.
  ASSERT_OK(world.open());
  world.kv->add_version("kek");
  refresh(world);
  EXPECT_FALSE(world.custody->status().expiry);
}

TEST(KeyExpiryTest, OfAKeyThatIsSetNow) {
  CustodyWorld world;
  world.create();
  refresh(world);
  const std::string other = world.kv->add_version("other");
  world.kv->info("other", other).expires = world.env.clock().now().seconds() + 10 * kDaySeconds;
  ASSERT_OK(world.custody->set_key({"kv", "other", std::nullopt}));
  ASSERT_TRUE(world.custody->status().expiry);
  EXPECT_EQ(world.custody->status().expiry->name.key, "other");
}

TEST(KeyExpiryTest, WhyARetiringVersionWaitsIsKept) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  world.kv->info("kek", world.custody->status().versions.back().version).expires = world.env.clock().now().seconds();
  complete_backup(world);
  refresh(world);
  const auto reason = [&] { return world.custody->status().versions.front().waiting_for; };
  EXPECT_THAT(reason(), HasSubstr("has expired"));
  const Generation kept = world.custody->generation();
  refresh(world);
  EXPECT_EQ(world.custody->generation(), kept) << "once is enough";
  ASSERT_OK(world.open(true));
  EXPECT_THAT(reason(), HasSubstr("has expired"));
}

TEST(KeyExpiryTest, AnOutageOfTheProofIsKeptWithoutItsDetails) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  // The Active one still opens the vault, but wraps what nothing opens.
  world.kv->wrap_garbage = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  const std::string reason = world.custody->status().versions.front().waiting_for;
  EXPECT_THAT(reason, HasSubstr("AuthenticationFailed"));
  const Generation kept = world.custody->generation();
  EXPECT_FALSE(world.custody->refresh().ok());
  EXPECT_EQ(world.custody->generation(), kept);
  ASSERT_OK(world.open(true));
  EXPECT_EQ(world.custody->status().versions.front().waiting_for, reason);
}

}  // namespace
}  // namespace vaultfs
