// Keys whose versions are numbered, so that each has a version "1", and one key under two names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/keys/custody_steps.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The next version of that key, under a number.
void add_numbered(FakeKeyVault& key_vault, const std::string& key, const std::string& number) {
  key_vault.info(key, key_vault.add_version(key)).id = number;
}

// A vault under kv/kek/1, and the key kv/other with a version 1 of its own.
void create_numbered(CustodyWorld& world) {
  world.kv->info("kek", world.v1).id = "1";
  add_numbered(*world.kv, "other", "1");
  world.create();
}

Status set_key(CustodyWorld& world, const std::string& key) {
  return world.custody->set_key(KeyRef::parse(key).value());
}

std::vector<std::string> needed(const CustodyWorld& world) {
  std::vector<std::string> names;
  for (const VersionRecord& record : world.custody->status().versions) {
    if (record.role == VersionRole::retired) continue;
    names.push_back(record.key_vault + "/" + record.key + "/" + record.version +
                    (record.role == VersionRole::active ? " active" : ""));
  }
  return names;
}

TEST(KeyCustodyNumberedTest, AnotherKeysVersionOfThatNumberTakesEffect) {
  CustodyWorld world;
  create_numbered(world);
  ASSERT_TRUE(set_key(world, "kv/other").ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/kek/1", "kv/other/1 active"));
  ASSERT_TRUE(world.open().ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/kek/1", "kv/other/1 active"));
  complete_backup(world);
  const auto refreshed = world.custody->refresh();
  ASSERT_TRUE(refreshed.ok());
  EXPECT_THAT(refreshed->retired, ElementsAre("1"));
  // The old key may go now.
  world.kv->remove_key("kek");
  ASSERT_TRUE(world.open().ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/other/1 active"));
}

TEST(KeyCustodyNumberedTest, SeveralRetiringVersionsOfOneNumberAreKeptApart) {
  CustodyWorld world;
  create_numbered(world);
  add_numbered(*world.kv, "third", "1");
  ASSERT_TRUE(set_key(world, "kv/other").ok());
  ASSERT_TRUE(set_key(world, "kv/third").ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/kek/1", "kv/other/1", "kv/third/1 active"));
  ASSERT_TRUE(world.open().ok());
  const auto drills = world.custody->drill();
  ASSERT_TRUE(drills.ok());
  ASSERT_EQ(drills->size(), 3U);
  for (const KeyDrill& drill : *drills) EXPECT_FALSE(drill.failure) << drill.key;
  // Disabled too early is said of the one that was.
  world.kv->info("other", "1").enabled = false;
  ASSERT_TRUE(world.custody->refresh().ok());
  for (const VersionRecord& record : world.custody->status().versions) {
    EXPECT_EQ(record.disabled_too_early, record.key == "other") << record.key;
  }
  complete_backup(world);
  ASSERT_TRUE(world.custody->refresh().ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/third/1 active"));
  ASSERT_TRUE(world.open().ok());
}

TEST(KeyCustodyNumberedTest, AFollowedKeyIsFollowedThoughAnEarlierKeyHadThatNumber) {
  CustodyWorld world;
  create_numbered(world);
  add_numbered(*world.kv, "kek", "2");
  ASSERT_TRUE(world.custody->refresh().ok());
  ASSERT_TRUE(set_key(world, "kv/other").ok());
  add_numbered(*world.kv, "other", "2");
  const auto refreshed = world.custody->refresh();
  ASSERT_TRUE(refreshed.ok()) << refreshed.error().message;
  EXPECT_TRUE(refreshed->version_changed);
  EXPECT_THAT(needed(world), Contains("kv/other/2 active"));
}

// A key that was imported elsewhere: the vault moves with it, and follows it there.
TEST(KeyCustodyNumberedTest, TheSameKeyUnderAnotherNameIsWhereTheVaultIsFromNowOn) {
  CustodyWorld world;
  world.create();
  auto imported = std::make_shared<FakeKeyVault>("new", world.env.clock());
  imported->import_version("b", *world.kv, "kek", world.v1);
  world.resolver.add(imported);
  ASSERT_TRUE(
      world.machine->register_vault({world.header.id, "/vault", "kv", "kek", std::vector<RegisteredKey>{}}).ok());
  ASSERT_TRUE(set_key(world, "new/b").ok());
  EXPECT_THAT(needed(world), ElementsAre("new/b/" + world.v1 + " active"));
  const auto registered = world.machine->registrations();
  ASSERT_TRUE(registered.ok());
  EXPECT_THAT(*registered->front().needed, ElementsAre(RegisteredKey{"new", "b", world.v1}));
  // Nothing of the old place is asked for any more, and its new versions are none of the vault's.
  world.kv->add_version("kek");
  ASSERT_TRUE(world.custody->refresh().ok());
  EXPECT_THAT(needed(world), ElementsAre("new/b/" + world.v1 + " active"));
  world.resolver.forget("kv");
  const std::string next = imported->add_version("b");
  ASSERT_TRUE(world.open().ok());
  const auto refreshed = world.custody->refresh();
  ASSERT_TRUE(refreshed.ok());
  EXPECT_TRUE(refreshed->version_changed);
  EXPECT_THAT(needed(world), ElementsAre("new/b/" + world.v1, "new/b/" + next + " active"));
}

TEST(KeyCustodyNumberedTest, BackToTheFirstNameOfOneKeyNeedsItOnce) {
  CustodyWorld world;
  world.create();
  auto imported = std::make_shared<FakeKeyVault>("new", world.env.clock());
  imported->import_version("b", *world.kv, "kek", world.v1);
  world.resolver.add(imported);
  const std::string other = world.kv->add_version("other");
  ASSERT_TRUE(set_key(world, "kv/other").ok());
  ASSERT_TRUE(set_key(world, "new/b").ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/kek/" + world.v1, "kv/other/" + other, "new/b/" + world.v1 + " active"));
  ASSERT_TRUE(set_key(world, "kv/kek").ok());
  EXPECT_THAT(needed(world), ElementsAre("kv/other/" + other, "kv/kek/" + world.v1 + " active"));
  ASSERT_TRUE(world.open().ok());
}

TEST(KeyCustodyNumberedTest, WhetherItIsAnotherKeyIsNotGuessedInAnOutage) {
  CustodyWorld world;
  world.create();
  auto imported = std::make_shared<FakeKeyVault>("new", world.env.clock());
  imported->import_version("b", *world.kv, "kek", world.v1);
  world.resolver.add(imported);
  const Generation before = world.custody->generation();
  // Listing and properties still answer; the unwrap does not.
  int calls = 0;
  imported->on_call = [&] {
    if (++calls == 3) imported->outage = true;
  };
  EXPECT_EQ(set_key(world, "new/b").code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(world.custody->generation(), before);
  EXPECT_EQ(world.custody->status().settings.key_vault, "kv");
  EXPECT_THAT(world.host->changes, Contains(HasSubstr("KeyVaultUnavailable")));
}

}  // namespace
}  // namespace vaultfs
