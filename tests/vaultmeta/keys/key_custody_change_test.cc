// Changes of a key that fail, come back or are asked for by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/vaultmeta/keys/custody_steps.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(KeyCustodyTest, AFailedRotationChangesNothingAndIsAFailedJob) {
  for (const bool garbage : {true, false}) {
    CustodyWorld world;
    world.create();
    const Digest before = world.custody->keyring_digest();
    const std::string v2 = world.kv->add_version("kek");
    world.kv->wrap_garbage = garbage;
    if (!garbage) world.kv->info("kek", v2).key_type = "EC";
    EXPECT_EQ(world.custody->refresh().code(), garbage ? ErrorCode::AuthenticationFailed : ErrorCode::KeyNotRsa);
    EXPECT_EQ(world.custody->keyring_digest(), before);
    ASSERT_EQ(world.host->changes.size(), 1U);
    static_cast<void>(world.custody->refresh());
    EXPECT_EQ(world.host->changes.size(), 1U);  // told once
    world.kv->wrap_garbage = false;
    world.kv->info("kek", v2).key_type = "RSA";
    EXPECT_TRUE(refresh(world).version_changed);
    EXPECT_EQ(world.host->changes.back(), "key.take-effect " + v2 + " ok");
  }
}

TEST(KeyCustodyTest, AnOutageAtAnyCallOfARotationLeavesAVaultThatOpens) {
  bool finished = false;
  for (int calls = 0; !finished; ++calls) {
    CustodyWorld world;
    world.create();
    const std::string v2 = world.kv->add_version("kek");
    world.kv->fail_after_calls = calls;
    finished = world.custody->refresh().ok();
    world.kv->fail_after_calls = -1;
    ASSERT_TRUE(world.open().ok()) << calls;
    refresh(world);
    EXPECT_EQ(world.role(v2), VersionRole::active);
    EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
    ASSERT_LT(calls, 100);
  }
}

TEST(KeyCustodyTest, SmallChangesDuringARotationAreKept) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  bool done = false;
  world.kv->on_call = [&] {
    if (world.kv->wraps != 2 || done) return;
    done = true;
    ASSERT_TRUE(world.custody->item_attempted().ok());  // no provider call blocks it
  };
  EXPECT_TRUE(refresh(world).version_changed);
  ASSERT_TRUE(done);
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(world.custody->status().settings.item_ever_attempted);
  EXPECT_EQ(world.role(v2), VersionRole::active);
}

TEST(KeyCustodyTest, AHeadThatCantBeWrittenRollsForward) {
  CustodyWorld world;
  world.create();
  refresh(world);
  const std::string v2 = world.kv->add_version("kek");
  const auto before = *world.head();
  world.host->fail_head = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::IoError);
  EXPECT_EQ(world.role(v2), VersionRole::active);
  EXPECT_EQ(world.head()->second, before.second);
  EXPECT_EQ(world.custody->generation().value, before.first.value + 1);  // never more than one beyond the head
  EXPECT_EQ(world.custody->item_attempted().code(), ErrorCode::IoError);
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.role(v2), VersionRole::active);
  EXPECT_TRUE(world.custody->check_descends_from(before.first, before.second).ok());
  refresh(world);
  EXPECT_EQ(world.head()->second, world.custody->keyring_digest());
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

TEST(KeyCustodyTest, TellsDescentFromRollback) {
  CustodyWorld world;
  world.create();
  const Generation first = world.custody->generation();
  const Digest digest = world.custody->keyring_digest();
  EXPECT_TRUE(world.custody->check_descends_from(first, digest).ok());
  EXPECT_EQ(world.custody->check_descends_from(first, Digest()).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(world.custody->check_descends_from(first.next(), digest).code(), ErrorCode::RollbackDetected);
  ASSERT_TRUE(world.custody->item_attempted().ok());
  EXPECT_TRUE(world.custody->check_descends_from(first, digest).ok());
  EXPECT_EQ(world.custody->check_descends_from(first, Digest()).code(), ErrorCode::RollbackDetected);
}

TEST(KeyCustodyTest, AFailedRollIsFinishedByTheNextRefresh) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  world.host->fail_roll = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::IoError);
  // Closed before it is said: what is made now is still made with keys that the version could read.
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  const auto said = [&] {
    return std::count(world.host->changes.begin(), world.host->changes.end(), "key.retire " + world.v1 + " ok");
  };
  EXPECT_EQ(said(), 0);
  const auto closed_at = [&] {
    return world.custody->keys()
        .with_dek(EpochNumber(1),
                  [](const EpochKeys::Epoch& e) -> Result<std::optional<ContainerNumber>> { return e.last_segment; })
        .value();
  };
  EXPECT_EQ(closed_at(), std::nullopt);  // segments of the old epoch may still be written
  world.host->fail_roll = false;
  world.host->segment = ContainerNumber(12);
  EXPECT_EQ(refresh(world).retired, std::vector<std::string>{world.v1});
  EXPECT_EQ(closed_at(), ContainerNumber(12));
  EXPECT_EQ(world.role(world.v1), VersionRole::retired);
  EXPECT_EQ(said(), 1);
  expect_locked_out(world, world.v1);
}

TEST(KeyCustodyTest, CustomerManagedKeysAreForNewVaults) {
  CustodyWorld world;
  world.create(std::nullopt);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("kv/kek").value()).ok());
  EXPECT_TRUE(world.custody->status().settings.customer_managed);
  EXPECT_TRUE(world.versions_with(VersionRole::retiring).empty());  // key_custody_platform_test.cc
  ASSERT_TRUE(world.open().ok());

  CustodyWorld late;
  late.create(std::nullopt);
  ASSERT_TRUE(late.custody->item_attempted().ok());
  ASSERT_TRUE(late.open().ok());
  EXPECT_EQ(late.custody->set_key(KeyRef::parse("kv/kek").value()).code(), ErrorCode::EncryptionNotChangeable);
}

TEST(KeyCustodyTest, AnotherKeyWantsTheOldOne) {
  CustodyWorld world;
  world.create();
  auto other = std::make_shared<FakeKeyVault>("other", world.env.clock());
  const std::string theirs = other->add_version("key");
  world.resolver.add(other);
  ASSERT_TRUE(world.machine->register_vault({world.header.id, "/vault", "kv", "kek"}).ok());
  world.kv->outage = true;
  EXPECT_EQ(world.custody->set_key(KeyRef::parse("other/key").value()).code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_THAT(world.host->changes, ElementsAre(HasSubstr("encryption.set other/key KeyVaultUnavailable")));
  world.kv->outage = false;
  EXPECT_EQ(world.custody->set_key(KeyRef::parse("other/none").value()).code(), ErrorCode::KeyNotFound);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("other/key").value()).ok());
  EXPECT_EQ(world.role(theirs), VersionRole::active);
  EXPECT_EQ(world.machine->registrations()->front().key_vault, "other");
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
  // Pinning the Active version changes no key.
  const auto unwraps = other->wraps.load();
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("other/key/" + theirs).value()).ok());
  EXPECT_EQ(other->wraps.load(), unwraps);
  EXPECT_EQ(world.custody->status().settings.pinned_version, theirs);
}

TEST(KeyCustodyTest, AVersionComesBack) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("kv/kek/" + world.v1).value()).ok());
  EXPECT_EQ(world.role(world.v1), VersionRole::active);
  EXPECT_EQ(world.role(v2), VersionRole::retiring);
  ASSERT_TRUE(world.open().ok());
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(v2));
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.role(world.v1), VersionRole::active);
}

TEST(KeyCustodyTest, RewrapsAndDropsRetiring) {
  CustodyWorld world;
  world.create();
  const Digest before = world.custody->keyring_digest();
  ASSERT_TRUE(world.custody->rewrap(false).ok());
  EXPECT_NE(world.custody->keyring_digest(), before);
  world.kv->add_version("kek");
  refresh(world);
  ASSERT_TRUE(world.custody->rewrap(false).ok());
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  ASSERT_TRUE(world.custody->rewrap(true).ok());
  EXPECT_EQ(world.role(world.v1), VersionRole::retired);
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(2));
  expect_locked_out(world, world.v1);
  ASSERT_TRUE(world.open().ok());
}

TEST(KeyCustodyTest, ANewIncarnationHasItsOwnEpoch) {
  CustodyWorld world;
  world.create();
  ASSERT_TRUE(world.custody->new_incarnation().ok());
  EXPECT_EQ(world.custody->incarnation(), 2U);
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(2));
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.custody->incarnation(), 2U);
}

TEST(KeyCustodyTest, ReadersChangeNothingAndSeeTheOwnersChanges) {
  CustodyWorld world;
  world.create();
  auto reader = KeyCustody::open(world.context(), world.header, world.header_digest, true);
  ASSERT_TRUE(reader.ok());
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  refresh(world);
  world.kv->info("kek", world.v1).enabled = false;
  const auto files = world.keyring_files();
  ASSERT_TRUE((*reader)->refresh().ok());
  EXPECT_EQ((*reader)->generation(), world.custody->generation());
  EXPECT_EQ(world.keyring_files(), files);
  EXPECT_EQ((*reader)->rewrap(false).code(), ErrorCode::ReadOnly);
  EXPECT_EQ((*reader)->job_completed(JobNumber(1), Lsn(1)).code(), ErrorCode::ReadOnly);
}

}  // namespace
}  // namespace vaultfs
