#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/custody_world.h"

// The identity of a vault, and what its key vault lacks.

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> slot_identities(CustodyWorld& world) {
  const auto closed = ClosedKeyring::decode(world.env.read(world.keyring_files().back()));
  EXPECT_TRUE(closed.ok());
  std::vector<std::string> identities;
  for (const KeyringSlot& slot : closed->slots) identities.push_back(slot.identity);
  return identities;
}

TEST(KeyCustodyIdentity, AnotherIdentityIsProvenAndKept) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  ASSERT_TRUE(world.custody->refresh().ok());  // one version Active, one Retiring
  const std::vector<VersionRecord> before = world.custody->status().versions;
  const int unwraps = world.kv->unwraps;
  ASSERT_TRUE(world.custody->set_identity("backup").ok());
  EXPECT_EQ(world.kv->unwraps, unwraps + 1);
  EXPECT_EQ(world.custody->status().settings.identity, "backup");
  EXPECT_EQ(world.custody->status().versions.size(), before.size());
  EXPECT_THAT(slot_identities(world), ElementsAre("backup", "backup"));
  EXPECT_THAT(world.host->changes, Contains("encryption.set-identity backup ok"));
  // From now on nobody asks as the old one.
  world.resolver.unknown_identities = {"system"};
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.custody->status().settings.identity, "backup");
  ASSERT_TRUE(world.custody->refresh().ok());
  world.kv->add_version("kek");
  ASSERT_TRUE(world.custody->refresh().ok());
  EXPECT_THAT(slot_identities(world), ElementsAre("backup", "backup", "backup"));
}

TEST(KeyCustodyIdentity, OneThatDoesNotWorkChangesNothing) {
  CustodyWorld world;
  world.create();
  world.resolver.unknown_identities = {"nosuch"};
  const Generation before = world.custody->generation();
  const Status refused = world.custody->set_identity("nosuch");
  EXPECT_EQ(refused.code(), ErrorCode::IdentityNotFound);
  CustodyWorld platform;  // asks no key vault who it is
  platform.create(std::nullopt);
  platform.resolver.unknown_identities = {"nosuch"};
  EXPECT_EQ(platform.custody->set_identity("nosuch").code(), ErrorCode::IdentityNotFound);
  world.kv->deny = true;
  EXPECT_EQ(world.custody->set_identity("backup").code(), ErrorCode::KeyVaultDenied);
  world.kv->deny = false;
  world.kv->unwrap_other = true;
  EXPECT_FALSE(world.custody->set_identity("backup").ok());
  world.kv->unwrap_other = false;
  EXPECT_EQ(world.custody->generation(), before);
  EXPECT_EQ(world.custody->status().settings.identity, "system");
  EXPECT_THAT(world.host->changes, Contains("encryption.set-identity nosuch IdentityNotFound"));
  ASSERT_TRUE(world.custody->refresh().ok());
}

// An identity that goes away is a revocation that keeps its name, and another identity can take its place meanwhile.
TEST(KeyCustodyIdentity, OneThatIsGoneIsARevocationAndCanBeReplaced) {
  CustodyWorld world;
  world.create();
  world.resolver.unknown_identities = {"system"};
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::IdentityNotFound);
  EXPECT_EQ(world.custody->status().access, KeyAccess::denied);
  ASSERT_TRUE(world.custody->status().problem.has_value());
  EXPECT_EQ(world.custody->status().problem->code, ErrorCode::IdentityNotFound);
  ASSERT_TRUE(world.custody->set_identity("backup").ok());
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
  EXPECT_FALSE(world.custody->status().problem.has_value());
  ASSERT_TRUE(world.custody->set_identity("backup").ok());
  EXPECT_EQ(world.custody->set_identity("system").code(), ErrorCode::IdentityNotFound);
  // Opening with the old one would not have worked.
  CustodyWorld other;
  other.create();
  other.resolver.unknown_identities = {"system"};
  EXPECT_EQ(other.open().code(), ErrorCode::IdentityNotFound);
  other.resolver.unknown_identities.clear();
  EXPECT_TRUE(other.open().ok());
}

TEST(KeyCustodyIdentity, WhatTheKeyVaultLostIsToldAndStopsNothing) {
  CustodyWorld world;
  world.create();
  ASSERT_TRUE(world.custody->refresh().ok());
  EXPECT_THAT(world.custody->status().unmet, IsEmpty());
  world.kv->answer.soft_delete = false;
  world.kv->answer.purge_protection = false;
  world.kv->add_version("kek");
  const auto outcome = world.custody->refresh();
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->version_changed);
  const EncryptionStatus status = world.custody->status();
  ASSERT_EQ(status.unmet.size(), 2U);
  EXPECT_EQ(status.unmet[0].code, ErrorCode::SoftDeleteRequired);
  EXPECT_EQ(status.unmet[1].code, ErrorCode::PurgeProtectionRequired);
  EXPECT_EQ(status.access, KeyAccess::available);
  // A provider without the notions is not asked for them.
  world.kv->answer.soft_delete.reset();
  world.kv->answer.purge_protection.reset();
  ASSERT_TRUE(world.custody->refresh().ok());
  EXPECT_THAT(world.custody->status().unmet, IsEmpty());
}

}  // namespace
}  // namespace vaultfs
