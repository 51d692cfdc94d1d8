// Revocation and outage, and what the machine lists of the versions that its vaults need.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/vaultmeta/keys/custody_steps.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(KeyCustodyTest, ADenialSealsAfterItsGraceAndHealsByItself) {
  CustodyWorld world;
  world.create();
  const Digest mac = world.custody->root_mac("l", {}).value();
  world.kv->deny = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyRevoked);
  world.env.sim_clock().advance_seconds(299);
  int closed = 0;
  const auto before_wipe = [&] {
    ++closed;
    EXPECT_TRUE(world.custody->root_mac("l", {}).ok());  // the keys are still there for a clean close
  };
  EXPECT_FALSE(world.custody->enforce_deadlines(before_wipe));
  // An outage meanwhile wins no time.
  world.kv->outage = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(1);
  EXPECT_TRUE(world.custody->enforce_deadlines(before_wipe));
  EXPECT_TRUE(world.custody->enforce_deadlines(before_wipe));
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(world.custody->status().access, KeyAccess::sealed);
  EXPECT_EQ(world.custody->root_mac("l", {}).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(world.custody->keys().current().code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(world.custody->job_completed(JobNumber(1), Lsn(500)).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(world.custody->rewrap(false).code(), ErrorCode::KeyRevoked);

  world.kv->outage = false;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyRevoked);
  world.kv->deny = false;
  const int unwraps = world.kv->unwraps;
  refresh(world);
  EXPECT_GT(world.kv->unwraps, unwraps);  // through the provider, from no cache
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
  EXPECT_EQ(world.custody->root_mac("l", {}).value(), mac);
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(1));
  const auto audit = world.machine->audit_entries().value();
  ASSERT_EQ(audit.size(), 2U);
  EXPECT_EQ(audit[0].what, "vault.sealed");
  EXPECT_THAT(audit[0].detail, HasSubstr("KeyVaultUnavailable"));
  EXPECT_EQ(audit[1].what, "vault.healed");
}

TEST(KeyCustodyTest, AnOutageSealsAfterItsTtlOnly) {
  CustodyWorld world;
  world.create();
  world.kv->outage = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(world.custody->status().access, KeyAccess::unreachable);
  world.env.sim_clock().advance_seconds(24 * 3600 - 1);
  EXPECT_FALSE(world.custody->enforce_deadlines(nullptr));
  world.kv->outage = false;
  refresh(world);
  world.env.sim_clock().advance_seconds(24 * 3600);
  EXPECT_FALSE(world.custody->enforce_deadlines(nullptr));
  world.kv->outage = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(24 * 3600);
  EXPECT_TRUE(world.custody->enforce_deadlines(nullptr));
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyVaultUnavailable);
  world.kv->outage = false;
  refresh(world);
  world.kv->add_version("kek");
  EXPECT_TRUE(refresh(world).version_changed);
}

// Who holds the machine sets its clock; who closes the lid stops its processes. Neither makes the grace longer.
TEST(KeyCustodyTest, TheWallClockNeitherProlongsNorEndsTheGrace) {
  constexpr std::int64_t kTwoYears = 2 * 365 * kSecondsPerDay * kNanosPerSecond;
  struct Case {
    bool outage;
    std::int64_t seconds;
  };
  for (const Case& deadline : {Case{false, 300}, Case{true, 24 * 3600}}) {
    CustodyWorld world;
    world.create();
    SimClock& clock = world.env.sim_clock();
    const UnixNanos before = clock.now();
    (deadline.outage ? world.kv->outage : world.kv->deny) = true;
    EXPECT_FALSE(world.custody->refresh().ok());
    clock.set({before.value + kTwoYears});
    EXPECT_FALSE(world.custody->enforce_deadlines(nullptr));
    EXPECT_FALSE(world.custody->refresh().ok());
    clock.advance_seconds(deadline.seconds - 1);
    EXPECT_FALSE(world.custody->enforce_deadlines(nullptr));
    clock.set({before.value - kTwoYears});
    EXPECT_FALSE(world.custody->refresh().ok());
    EXPECT_FALSE(world.custody->enforce_deadlines(nullptr));
    clock.advance_seconds(1);
    EXPECT_TRUE(world.custody->enforce_deadlines(nullptr)) << deadline.seconds;
    EXPECT_EQ(world.custody->status().access, KeyAccess::sealed);
  }
}

TEST(KeyCustodyTest, ASlowProviderDelaysNeitherSealingNorReaders) {
  CustodyWorld world;
  world.create();
  std::atomic<bool> waiting{false};
  std::atomic<bool> go{false};
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.kv->deny = false;
  world.kv->on_call = [&] {
    waiting = true;
    while (!go) std::this_thread::yield();
  };
  std::thread slow([&] { static_cast<void>(world.custody->refresh()); });
  while (!waiting) std::this_thread::yield();
  world.env.sim_clock().advance_seconds(300);
  EXPECT_EQ(world.custody->status().access, KeyAccess::denied);
  EXPECT_TRUE(world.custody->enforce_deadlines(nullptr));
  EXPECT_EQ(world.custody->keys().current().code(), ErrorCode::KeyRevoked);
  go = true;
  slow.join();
  world.kv->on_call = nullptr;
  refresh(world);
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
}

TEST(KeyCustodyTest, AccessThatComesBackDuringTheCloseKeepsTheKeys) {
  CustodyWorld world;
  world.create();
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(301);
  EXPECT_FALSE(world.custody->enforce_deadlines([&] {
    world.kv->deny = false;
    refresh(world);
  }));
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
  EXPECT_TRUE(world.custody->root_mac("l", {}).ok());
  EXPECT_TRUE(world.custody->keys().current().ok());
}

TEST(KeyCustodyTest, ADisabledCopyElsewhereMakesNoRevocationOfAnOutage) {
  CustodyWorld world;
  world.create();
  auto here = std::make_shared<FakeKeyVault>("here", world.env.clock());
  here->import_version("copy", *world.kv, "kek", world.v1);
  here->info("copy", world.v1).enabled = false;
  world.resolver.add(here);
  world.resolver.places[world.v1] = {"here", "copy"};
  world.kv->outage = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(world.custody->status().access, KeyAccess::unreachable);
  EXPECT_EQ(world.open().code(), ErrorCode::KeyVaultUnavailable);
  // A copy that works helps through the outage.
  here->info("copy", world.v1).enabled = true;
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
  // Where the vault's own key vault says that the key is gone, that is its word.
  here->info("copy", world.v1).enabled = false;
  world.kv->outage = false;
  world.kv->remove_key("kek");
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyRevoked);
}

TEST(KeyCustodyTest, TheMachineListsEveryVersionThatIsNeededBeforeItsKeyringIsDurable) {
  CustodyWorld world;
  world.create();
  auto other = std::make_shared<FakeKeyVault>("other", world.env.clock());
  const std::string theirs = other->add_version("key");
  world.resolver.add(other);
  const RegisteredKey first{"kv", "kek", world.v1};
  const RegisteredKey second{"other", "key", theirs};
  const auto needed = [&] { return world.machine->registrations()->front().needed.value(); };
  // A registration of an older vaultfs gets its list at the next opening.
  ASSERT_TRUE(world.machine->register_vault({world.header.id, "/vault", "kv", "kek"}).ok());
  ASSERT_TRUE(world.open().ok());
  EXPECT_THAT(needed(), ElementsAre(first));
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("other/key").value()).ok());
  EXPECT_THAT(needed(), ElementsAre(first, second)) << "the old key's version is Retiring";
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
  EXPECT_THAT(needed(), ElementsAre(second));
}

// Who withdraws a version sees it on the list, or the proof that comes after fails.
TEST(KeyCustodyTest, AVersionIsOnTheMachinesListBeforeItIsProven) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_TRUE(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}).ok());
  const std::string v2 = world.kv->add_version("kek");
  world.kv->on_call = [&] {
    if (world.kv->wraps == 0) return;
    EXPECT_THAT(world.machine->registrations()->front().needed.value(), Contains(RegisteredKey{"kv", "kek", v2}));
  };
  world.kv->wraps = 0;
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_GT(world.kv->wraps, 0);
  world.kv->on_call = nullptr;
}

TEST(KeyCustodyTest, AtNoStepIsAVersionNeededThatTheMachineDoesNotList) {
  for (const bool retiring : {false, true}) {
    bool done = false;
    for (std::uint64_t steps = 0; !done; ++steps) {
      ASSERT_LT(steps, 300U);
      CustodyWorld world;
      world.create();
      const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
      ASSERT_TRUE(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}).ok());
      world.kv->add_version("kek");
      if (retiring) {
        refresh(world);
        complete_backup(world);
      }
      world.env.fail_after(steps);
      done = world.custody->refresh().ok();
      world.close();
      world.env.crash(steps, CrashMode::random);
      const std::vector<RegisteredKey> listed = world.machine->registrations()->front().needed.value();
      const auto closed = ClosedKeyring::decode(world.env.read(world.keyring_files().back()));
      ASSERT_TRUE(closed.ok());
      for (const KeyringSlot& slot : closed->slots) {
        EXPECT_THAT(listed, Contains(RegisteredKey{slot.key_vault, slot.key, slot.version})) << steps;
      }
      if (done) {
        EXPECT_EQ(listed.size(), retiring ? 1U : 2U);
      }
    }
  }
}

}  // namespace
}  // namespace vaultfs
