// From a platform key to a customer-managed one: the platform key opens nothing that follows, and goes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/keys/custody_steps.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/machine/recovery_file.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

PlatformKeyId platform_key(CustodyWorld& world) {
  const auto closed = ClosedKeyring::decode(world.env.read(world.keyring_files().back()));
  EXPECT_TRUE(closed.ok());
  Bytes bytes;
  PlatformKeyId id;
  EXPECT_TRUE(from_hex(closed->active_slot().version, bytes));
  std::copy(bytes.begin(), bytes.end(), id.mutable_view().begin());
  return id;
}

bool on_the_machine(CustodyWorld& world, const PlatformKeyId& id) { return world.platform_keys->load(id).ok(); }

Status set_customer_key(CustodyWorld& world) { return world.custody->set_key({"kv", "kek", std::nullopt}); }

void expect_no_platform_slot(CustodyWorld& world) {
  for (const Env::Path& file : world.keyring_files()) {
    const auto closed = ClosedKeyring::decode(world.env.read(file));
    ASSERT_TRUE(closed.ok());
    for (const KeyringSlot& slot : closed->slots) EXPECT_EQ(slot.kind, SlotKind::key_vault) << file;
  }
}

TEST(KeyCustodyPlatform, ThePlatformKeyOpensNothingThatFollowsAndGoes) {
  CustodyWorld world;
  world.create(std::nullopt);
  const PlatformKeyId id = platform_key(world);
  ASSERT_OK(set_customer_key(world));
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(2)) << "a DEK that the platform key never opened";
  EXPECT_THAT(world.versions_with(VersionRole::active), ElementsAre(world.v1));
  EXPECT_THAT(world.versions_with(VersionRole::retiring), IsEmpty());
  EXPECT_EQ(world.role(to_hex(id.view())), VersionRole::retired);
  expect_no_platform_slot(world);
  EXPECT_FALSE(on_the_machine(world, id));
  EXPECT_EQ(world.host->rolls, 1) << "nothing more is written under the old DEK";
  EXPECT_EQ(world.custody->status().void_platform_key, id);
  EXPECT_THAT(world.host->changes, Contains("encryption.set " + world.v1 + " ok"));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.custody->status().void_platform_key, id);
  EXPECT_EQ(world.head()->second, world.custody->keyring_digest());
}

TEST(KeyCustodyPlatform, AHeadThatCantBeWrittenKeepsThePlatformKey) {
  CustodyWorld world;
  world.create(std::nullopt);
  refresh(world);
  const PlatformKeyId id = platform_key(world);
  world.host->fail_head = true;
  EXPECT_EQ(set_customer_key(world).code(), ErrorCode::IoError);
  EXPECT_TRUE(world.custody->status().settings.customer_managed);
  EXPECT_TRUE(on_the_machine(world, id)) << "the head still names the keyring that it opens";
  world.host->fail_head = false;
  refresh(world);
  EXPECT_FALSE(on_the_machine(world, id));
}

TEST(KeyCustodyPlatform, TheInfrastructureKeyStays) {
  CustodyWorld world;
  world.create(std::nullopt, Suite::aes_gcm_in_xchacha);
  const PlatformKeyId id = platform_key(world);
  ASSERT_OK(set_customer_key(world));
  EXPECT_FALSE(on_the_machine(world, id));
  EXPECT_TRUE(on_the_machine(world, PlatformKeyId(world.header.infrastructure_key_id)));
  ASSERT_OK(world.open());
}

TEST(KeyCustodyPlatform, AnOldRecoveryFileBringsItBackForNothing) {
  CustodyWorld world;
  world.create(std::nullopt);
  const PlatformKeyId id = platform_key(world);
  const auto key = world.platform_keys->load(id);
  ASSERT_OK(key);
  ASSERT_OK(set_customer_key(world));
  ASSERT_OK(world.platform_keys->install(id, *key));
  world.kv->outage = true;
  EXPECT_FALSE(world.open().ok()) << "the platform key opens the vault no more";
  world.kv->outage = false;
  ASSERT_OK(world.open());
  refresh(world);
  EXPECT_FALSE(on_the_machine(world, id));
}

TEST(KeyCustodyPlatform, WhatFailsLeavesThePlatformKeyAndTheVault) {
  CustodyWorld world;
  world.create(std::nullopt);
  const PlatformKeyId id = platform_key(world);
  const Digest before = world.custody->keyring_digest();
  world.kv->unwrap_other = true;
  EXPECT_FALSE(set_customer_key(world).ok());
  world.kv->unwrap_other = false;
  EXPECT_EQ(world.custody->keyring_digest(), before);
  EXPECT_TRUE(on_the_machine(world, id));
  ASSERT_OK(world.custody->item_attempted());
  EXPECT_EQ(set_customer_key(world).code(), ErrorCode::EncryptionNotChangeable);
  EXPECT_TRUE(on_the_machine(world, id));
  ASSERT_OK(world.open());
}

// Keyring, head, pin, and only then the key: wherever the power goes, the vault opens, and is led to the end.
TEST(KeyCustodyPlatform, ACrashAtAnyStepLeavesAVaultThatOpens) {
  PlatformKeyId id;
  crash_at_each_step(
      10,
      [&](CustodyWorld& world) {
        world.create(std::nullopt);
        id = platform_key(world);
      },
      [](CustodyWorld& world) { return set_customer_key(world); },
      [&](CustodyWorld& world) {
        const auto head = *world.head();
        const auto newest = ClosedKeyring::decode(world.env.read(world.keyring_files().back()));
        ASSERT_OK(newest);
        const bool headed = newest->active_slot().kind == SlotKind::key_vault && head.first == newest->generation;
        EXPECT_TRUE(headed || on_the_machine(world, id)) << "the key went before the head";
        ASSERT_OK(world.open());
        if (!world.custody->status().settings.customer_managed) ASSERT_OK(set_customer_key(world));
        refresh(world);
        EXPECT_FALSE(on_the_machine(world, id));
        EXPECT_GE(world.custody->keys().current().value(), EpochNumber(2));
        expect_no_platform_slot(world);
        ASSERT_OK(world.open());
        EXPECT_THAT(world.versions_with(VersionRole::retiring), IsEmpty());
        EXPECT_EQ(world.head()->second, world.custody->keyring_digest());
      });
}

}  // namespace
}  // namespace vaultfs
