#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/support/custody_world.h"
#include "vaultmeta/keys/kek_access.h"

// Power loss at every durable step of every key change: afterwards the vault opens with the versions that the rule
// names, and the change can be made or finished.

namespace vaultfs {
namespace {

using Step = std::function<void(CustodyWorld&)>;

struct Scenario {
  std::string name;
  Step prepare;  // before the crash can come
  Step change;   // in which it comes; errors are expected
  Step finish;   // after the restart: what a user would do next
  Step check;    // the end, the same whether it crashed or not
};

// Each version that the rule calls Active or Retiring opens the vault while the other slots are out of reach.
void expect_needed_versions_open(CustodyWorld& world) {
  const auto status = world.custody->status();
  for (const VersionRecord& record : status.versions) {
    if (record.role == VersionRole::retired || record.epoch_being_closed) continue;
    bool found = false;
    const auto newest = world.keyring_files().back();
    const auto closed = ClosedKeyring::decode(world.env.read(newest));
    ASSERT_TRUE(closed.ok());
    for (const KeyringSlot& slot : closed->slots) {
      if (slot.version != record.version) continue;
      found = true;
      EXPECT_EQ(slot.role, record.role);
      if (slot.kind == SlotKind::platform) continue;
      ReachedKey reached;
      auto key = unwrap_slot(world.resolver, *world.platform_keys, closed->vault, slot, reached);
      ASSERT_TRUE(key.ok()) << record.version;
      if (slot.role == VersionRole::retiring) {
        key = open_link(closed->vault, closed->generation, slot, *key);
        ASSERT_TRUE(key.ok()) << record.version;
      }
      EXPECT_TRUE(open_keyring(world.env.read(newest), *key).ok()) << record.version;
    }
    EXPECT_TRUE(found) << record.version;
  }
}

void backup(CustodyWorld& world) {
  const Lsn begun = world.host->next_lsn();
  world.host->lsn = Lsn(begun.value + 10);
  const Status completed = world.custody->job_completed(JobNumber(1), begun);
  static_cast<void>(completed);
}

void refresh_until_crash(CustodyWorld& world) {
  const auto outcome = world.custody->refresh();
  static_cast<void>(outcome);  // the crash may be in it; what it did is checked afterwards
}

std::vector<Scenario> scenarios() {
  const auto nothing = [](CustodyWorld&) {};
  const auto rotated = [](CustodyWorld& world) {
    refresh_until_crash(world);
    world.kv->add_version("kek");
    refresh_until_crash(world);
  };
  const auto expect_count = [](std::size_t active, std::size_t retiring, std::size_t retired) {
    return [=](CustodyWorld& world) {
      EXPECT_EQ(world.versions_with(VersionRole::active).size(), active);
      EXPECT_EQ(world.versions_with(VersionRole::retiring).size(), retiring);
      EXPECT_EQ(world.versions_with(VersionRole::retired).size(), retired);
    };
  };
  return {
      {"take effect", [](CustodyWorld& world) { world.kv->add_version("kek"); }, refresh_until_crash,
       refresh_until_crash, expect_count(1, 1, 0)},
      {"backup and retirement", rotated,
       [](CustodyWorld& world) {
         backup(world);
         refresh_until_crash(world);
       },
       [](CustodyWorld& world) {
         backup(world);
         refresh_until_crash(world);
       },
       [=](CustodyWorld& world) {
         expect_count(1, 0, 1)(world);
         for (const Env::Path& file : world.keyring_files()) {
           const auto keyring = ClosedKeyring::decode(world.env.read(file));
           ASSERT_TRUE(keyring.ok());
           for (const KeyringSlot& slot : keyring->slots) EXPECT_NE(slot.version, world.v1) << file;
         }
         // No old epoch is left open.
         const auto closed = world.custody->keys().with_dek(EpochNumber(1), [](const EpochKeys::Epoch& epoch) {
           return Result<bool>(epoch.last_segment.has_value());
         });
         EXPECT_TRUE(closed.ok() && *closed);
       }},
      {"rewrap", rotated, [](CustodyWorld& world) { static_cast<void>(world.custody->rewrap(false).ok()); }, nothing,
       expect_count(1, 1, 0)},
      {"drop retiring", rotated, [](CustodyWorld& world) { static_cast<void>(world.custody->rewrap(true).ok()); },
       [](CustodyWorld& world) { EXPECT_TRUE(world.custody->rewrap(true).ok()); }, expect_count(1, 0, 1)},
      {"set key", [](CustodyWorld& world) { world.kv->add_version("second"); },
       [](CustodyWorld& world) {
         static_cast<void>(world.custody->set_key({"kv", "second", std::nullopt}).ok());
       },
       [](CustodyWorld& world) {
         EXPECT_TRUE(world.custody->set_key({"kv", "second", std::nullopt}).ok());
       },
       [=](CustodyWorld& world) {
         expect_count(1, 1, 0)(world);
         EXPECT_EQ(world.custody->status().settings.key, "second");
       }},
      {"first item", nothing, [](CustodyWorld& world) { static_cast<void>(world.custody->item_attempted().ok()); },
       [](CustodyWorld& world) { EXPECT_TRUE(world.custody->item_attempted().ok()); },
       [](CustodyWorld& world) { EXPECT_TRUE(world.custody->status().settings.item_ever_attempted); }},
      {"new incarnation", nothing,
       [](CustodyWorld& world) { static_cast<void>(world.custody->new_incarnation().ok()); }, refresh_until_crash,
       [](CustodyWorld& world) { EXPECT_GE(world.custody->incarnation(), 1U); }},
  };
}

class KeyCustodyCrashTest : public ::testing::TestWithParam<CrashMode> {};

TEST_P(KeyCustodyCrashTest, LeavesAVaultThatOpensAtEveryStep) {
  for (const Scenario& scenario : scenarios()) {
    bool crashed = true;
    for (std::uint64_t steps = 0; crashed; ++steps) {
      SCOPED_TRACE(scenario.name + ", step " + std::to_string(steps));
      ASSERT_LT(steps, 400U);
      CustodyWorld world;
      world.create();
      scenario.prepare(world);
      const auto head_before = *world.head();
      world.env.fail_after(steps);
      scenario.change(world);
      crashed = world.env.failure_reached();
      world.close();
      world.env.crash(steps + 1, GetParam());

      const Status opened = world.open();
      ASSERT_TRUE(opened.ok()) << error_name(opened.code()) << ": " << opened.error().message;
      // Whatever head survived, the keyring is it or descends from it in one step.
      const auto head = *world.head();
      EXPECT_GE(head.first, head_before.first);
      EXPECT_LE(world.custody->generation().value, head.first.value + 1);
      EXPECT_TRUE(world.custody->check_descends_from(head.first, head.second).ok());
      expect_needed_versions_open(world);
      scenario.finish(world);
      refresh_until_crash(world);
      scenario.check(world);
      expect_needed_versions_open(world);
      ASSERT_TRUE(world.open().ok());
      scenario.check(world);
      EXPECT_EQ(world.head()->second, world.custody->keyring_digest());
      EXPECT_LE(world.keyring_files().size(), 2U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, KeyCustodyCrashTest,
                         ::testing::Values(CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random),
                         [](const auto& mode) {
                           return mode.param == CrashMode::random     ? "Random"
                                  : mode.param == CrashMode::keep_all ? "KeepAll"
                                                                      : "DropAll";
                         });

// The disk fails in the middle, but the process goes on: it must neither believe what is not stored nor get stuck.
TEST(KeyCustodyDiskTest, GoesOnAfterADiskThatFailedForAWhile) {
  bool failed = true;
  for (std::uint64_t steps = 0; failed; ++steps) {
    SCOPED_TRACE(steps);
    ASSERT_LT(steps, 400U);
    CustodyWorld world;
    world.create();
    refresh_until_crash(world);
    world.kv->add_version("kek");
    world.env.fail_after(steps);
    refresh_until_crash(world);
    backup(world);
    refresh_until_crash(world);
    failed = world.env.failure_reached();
    world.env.clear_faults();
    refresh_until_crash(world);
    backup(world);
    const auto healed = world.custody->refresh();
    ASSERT_TRUE(healed.ok()) << healed.error().message;
    EXPECT_EQ(world.role(world.v1), VersionRole::retired);
    const Digest digest = world.custody->keyring_digest();
    world.close();
    world.env.crash(1, CrashMode::drop_all_unsynced);
    ASSERT_TRUE(world.open().ok());
    EXPECT_EQ(world.custody->keyring_digest(), digest);
  }
}

}  // namespace
}  // namespace vaultfs
