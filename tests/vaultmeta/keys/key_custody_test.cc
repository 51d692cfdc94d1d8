#include "vaultmeta/keys/key_custody.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/keys/custody_steps.h"
#include "vaultmeta/keys/kek_access.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(KeyCustodyTest, CreatesAndOpens) {
  CustodyWorld world;
  world.create();
  const Digest fingerprint = world.header.root_fingerprint;
  EXPECT_FALSE(fingerprint.is_zero());
  const Digest mac = world.custody->root_mac("label", bytes_of("message")).value();
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.custody->root_mac("label", bytes_of("message")).value(), mac);
  EXPECT_NE(world.custody->root_mac("other", bytes_of("message")).value(), mac);
  EXPECT_EQ(world.role(world.v1), VersionRole::active);
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(1));
  EXPECT_EQ(world.custody->status().last_update_status, "Succeeded");
  EXPECT_TRUE(world.custody->keys()
                  .with_id_key([](const SecretBuffer& key) -> Result<std::size_t> { return key.size(); })
                  .ok());
}

TEST(KeyCustodyTest, RefusesUnsuitableKeysAtCreation) {
  const auto code = [](const std::function<void(CustodyWorld&)>& prepare, const std::string& key,
                       const std::string& region = "") {
    CustodyWorld world;
    prepare(world);
    world.header.id = random_id<VaultId>(world.env);
    world.header.region = region;
    KeyCustody::CreateRequest request;
    request.key = KeyRef::parse(key).value();
    const auto made = KeyCustody::create(world.context(), world.header, request,
                                         [](const VaultHeader&) -> Result<Digest> { return Digest(); });
    EXPECT_FALSE(made.ok());
    EXPECT_THAT(world.keyring_files(), IsEmpty());
    return made.ok() ? ErrorCode::Internal : made.code();
  };
  const auto nothing = [](CustodyWorld&) {};
  EXPECT_EQ(code(nothing, "nowhere/kek"), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(code(nothing, "kv/other"), ErrorCode::KeyNotFound);
  EXPECT_EQ(code(nothing, "kv/kek/" + std::string(32, '0')), ErrorCode::KeyVersionNotFound);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).enabled = false; }, "kv/kek"),
            ErrorCode::KeyVersionDisabled);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).expires = 5; }, "kv/kek"), ErrorCode::KeyVersionExpired);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).not_before = 1LL << 40; }, "kv/kek"),
            ErrorCode::KeyVersionNotYetValid);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).key_type = "EC"; }, "kv/kek"), ErrorCode::KeyNotRsa);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).bits = 1024; }, "kv/kek"),
            ErrorCode::KeySizeUnsupported);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->wrap_garbage = true; }, "kv/kek"), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->unwrap_other = true; }, "kv/kek"), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.region = "west"; }, "kv/kek", "east"), ErrorCode::RegionMismatch);
  // A key vault that is nowhere is not where the vault is.
  const auto in_west = [](CustodyWorld& w) { w.kv->answer.region = "West Europe"; };
  EXPECT_EQ(code(in_west, "kv/kek", "northeurope"), ErrorCode::RegionMismatch);
  EXPECT_EQ(code(nothing, "kv/kek", "west"), ErrorCode::RegionMismatch);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.region = ""; }, "kv/kek", "west"), ErrorCode::RegionMismatch);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->info("kek", w.v1).of_certificate = true; }, "kv/kek"),
            ErrorCode::KeyOfCertificate);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.soft_delete = false; }, "kv/kek"), ErrorCode::SoftDeleteRequired);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.purge_protection = false; }, "kv/kek"),
            ErrorCode::PurgeProtectionRequired);
  EXPECT_EQ(code([](CustodyWorld& w) { w.resolver.unknown_identities = {"system"}; }, "kv/kek"),
            ErrorCode::IdentityNotFound);
}

// Portals show "West Europe", commands write westeurope. A vault without a region asks for none.
TEST(KeyCustodyTest, RegionsAreComparedWithoutCaseAndBlanks) {
  for (const char* region : {"westeurope", "WestEurope", "West Europe", ""}) {
    CustodyWorld world;
    world.kv->answer.region = "West Europe";
    world.header.id = random_id<VaultId>(world.env);
    world.header.region = region;
    KeyCustody::CreateRequest request;
    request.key = KeyRef::parse("kv/kek").value();
    const auto made = KeyCustody::create(world.context(), world.header, request,
                                         [](const VaultHeader&) -> Result<Digest> { return Digest(); });
    EXPECT_TRUE(made.ok()) << region << ": " << (made.ok() ? "" : made.error().message);
  }
}

TEST(KeyCustodyTest, PlatformManagedVaultsOpenWithTheMachinesKey) {
  CustodyWorld world;
  world.create(std::nullopt, Suite::aes_gcm_in_xchacha);
  ASSERT_TRUE(world.open().ok());
  EXPECT_FALSE(world.custody->status().settings.customer_managed);
  refresh(world);
  ASSERT_TRUE(world.custody->rewrap(false).ok());
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(world.custody->keys()
                  .with_infrastructure_key([](const SecretBuffer& key) -> Result<std::size_t> { return key.size(); })
                  .ok());
  for (const auto& file : world.env.files("/home/platform-keys")) world.env.remove(file);
  EXPECT_EQ(world.open().code(), ErrorCode::PlatformKeyMissing);
}

TEST(KeyCustodyTest, AFailedCreationLeavesNoPlatformKey) {
  CustodyWorld world;
  world.header.id = random_id<VaultId>(world.env);
  const auto made = KeyCustody::create(world.context(), world.header, {}, [](const VaultHeader&) -> Result<Digest> {
    return Error{ErrorCode::NoSpace, "full"};
  });
  EXPECT_EQ(made.code(), ErrorCode::NoSpace);
  EXPECT_THAT(world.env.files("/home/platform-keys"),
              Not(Contains(testing::Property(&Env::Path::extension, Env::Path(".key")))));
}

TEST(KeyCustodyTest, ANewVersionTakesEffectAndTheOldOneRetiresAfterABackup) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v2), VersionRole::active);
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  EXPECT_EQ(world.custody->status().last_update_status, "Succeeded");
  EXPECT_THAT(world.host->changes, ElementsAre("key.take-effect " + v2 + " ok"));
  EXPECT_THAT(refresh(world).retired, IsEmpty());

  complete_backup(world);
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
  EXPECT_EQ(world.role(world.v1), VersionRole::retired);
  EXPECT_EQ(world.custody->keys().current().value(), EpochNumber(2));
  EXPECT_EQ(world.custody->status().versions[0].last_epoch, EpochNumber(1));
  EXPECT_EQ(world.host->rolls, 1);
  expect_locked_out(world, world.v1);
  // The old epoch is closed at the segment that was the highest after the roll.
  const auto closed_at = world.custody->keys().with_dek(
      EpochNumber(1),
      [](const EpochKeys::Epoch& epoch) -> Result<std::optional<ContainerNumber>> { return epoch.last_segment; });
  EXPECT_EQ(closed_at.value(), ContainerNumber(7));
  world.kv->info("kek", world.v1).enabled = false;
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.head()->first, world.custody->generation());
  EXPECT_EQ(world.head()->second, world.custody->keyring_digest());
}

TEST(KeyCustodyTest, SeveralRotationsBeforeABackupRetireTogether) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  const std::string v3 = world.kv->add_version("kek");
  refresh(world);
  EXPECT_THAT(world.versions_with(VersionRole::retiring), ElementsAre(world.v1, v2));
  // Each Retiring version alone would still open the vault if the Active one were out of reach.
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1, v2));
  EXPECT_EQ(world.role(v3), VersionRole::active);
  expect_locked_out(world, world.v1);
  expect_locked_out(world, v2);
}

TEST(KeyCustodyTest, AJobBegunBeforeTheRotationDoesNotCount) {
  CustodyWorld world;
  world.create();
  const Lsn begun = world.host->next_lsn();
  world.host->lsn = Lsn(150);
  world.kv->add_version("kek");
  refresh(world);
  ASSERT_TRUE(world.custody->job_completed(JobNumber(1), begun).ok());
  EXPECT_THAT(refresh(world).retired, IsEmpty());
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  complete_backup(world, 2);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

TEST(KeyCustodyTest, AJobThatBeginsWhileTheVersionTakesEffectDoesNotCount) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  Lsn begun;
  // While the new version is proven, a job begins.
  world.kv->on_call = [&] {
    if (world.kv->wraps == 2 && begun.value == 0) {
      begun = world.host->next_lsn();
      world.host->lsn = Lsn(200);
    }
  };
  refresh(world);
  ASSERT_NE(begun.value, 0U);
  ASSERT_TRUE(world.custody->job_completed(JobNumber(1), begun).ok());
  EXPECT_THAT(refresh(world).retired, IsEmpty());
}

TEST(KeyCustodyTest, ALostTailOfLsnsDoesNotDelayRetirement) {
  CustodyWorld world;
  world.create();
  world.host->lsn = Lsn(1000);
  world.kv->add_version("kek");
  refresh(world);
  ASSERT_TRUE(world.open().ok());  // its host gives LSN 100 again: what was above had never been synced
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

TEST(KeyCustodyTest, APinnedReferenceNeverFollows) {
  CustodyWorld world;
  world.create("kv/kek/" + world.v1);
  const std::string v2 = world.kv->add_version("kek");
  EXPECT_FALSE(refresh(world).version_changed);
  EXPECT_EQ(world.role(world.v1), VersionRole::active);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("kv/kek/" + v2).value()).ok());
  EXPECT_EQ(world.role(v2), VersionRole::active);
  world.kv->add_version("kek");
  EXPECT_FALSE(refresh(world).version_changed);
}

TEST(KeyCustodyTest, FollowsTheNewestThatMayWrapAndOnlyForward) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  const std::string v3 = world.kv->add_version("kek");
  const std::string v4 = world.kv->add_version("kek");
  world.kv->info("kek", v3).not_before = world.env.clock().now().seconds() + 100;
  world.kv->info("kek", v4).enabled = false;
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v2), VersionRole::active);
  world.env.sim_clock().advance_seconds(100);
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v3), VersionRole::active);
  // Expired or not, nothing goes back.
  world.kv->info("kek", v3).expires = world.env.clock().now().seconds();
  EXPECT_FALSE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v3), VersionRole::active);
}

// On a second machine the versions are imported in any order, and dated by their import.
TEST(KeyCustodyTest, NeverFollowsAVersionThatItHasLeftBehind) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  ASSERT_EQ(world.role(v2), VersionRole::active);
  auto imported = std::make_shared<FakeKeyVault>("here", world.env.clock());
  imported->import_version("copy", *world.kv, "kek", v2);
  imported->import_version("copy", *world.kv, "kek", world.v1);
  world.resolver.add(imported);
  world.resolver.forget("kv");
  world.resolver.places[v2] = {"here", "copy"};
  world.resolver.places[world.v1] = {"here", "copy"};
  ASSERT_TRUE(world.open().ok());
  EXPECT_FALSE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v2), VersionRole::active);
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
  EXPECT_FALSE(refresh(world).version_changed);
  const std::string v3 = imported->add_version("copy");
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v3), VersionRole::active);
}

TEST(KeyCustodyTest, ADisabledActiveVersionIsARevocationNeverAFallBack) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  world.kv->info("kek", v2).enabled = false;
  const auto refused = world.custody->refresh();
  ASSERT_EQ(refused.code(), ErrorCode::KeyRevoked);
  EXPECT_THAT(refused.error().message, HasSubstr("kv/kek/" + v2));
  EXPECT_EQ(world.custody->status().access, KeyAccess::denied);
  const Status opened = world.open();
  ASSERT_EQ(opened.code(), ErrorCode::KeyRevoked);
  EXPECT_THAT(opened.error().message, HasSubstr(v2));
  world.kv->remove_version("kek", v2);
  EXPECT_EQ(world.open().code(), ErrorCode::KeyRevoked);
  world.kv->remove_key("kek");
  EXPECT_EQ(world.open().code(), ErrorCode::KeyRevoked);
  world.kv->deny = true;
  EXPECT_EQ(world.open().code(), ErrorCode::KeyRevoked);
}

TEST(KeyCustodyTest, ARetiringVersionOpensDuringAnOutageOfTheActiveOne) {
  CustodyWorld world;
  world.create();
  auto other = std::make_shared<FakeKeyVault>("other", world.env.clock());
  other->add_version("key");
  world.resolver.add(other);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("other/key").value()).ok());
  other->outage = true;
  ASSERT_TRUE(world.open().ok());
  EXPECT_EQ(world.custody->status().access, KeyAccess::unreachable);
  EXPECT_EQ(world.custody->status().problem->code, ErrorCode::KeyVaultUnavailable);
  // Without the Retiring one it is an outage, a missing key vault too.
  world.kv->outage = true;
  EXPECT_EQ(world.open().code(), ErrorCode::KeyVaultUnavailable);
  world.kv->outage = false;
  other->outage = false;
  other->deny = true;
  EXPECT_EQ(world.open().code(), ErrorCode::KeyRevoked);
}

TEST(KeyCustodyTest, AMissingKeyVaultIsAnOutage) {
  CustodyWorld world;
  world.create();
  world.resolver.forget("kv");
  EXPECT_EQ(world.open().code(), ErrorCode::KeyVaultUnavailable);
}

TEST(KeyCustodyTest, FindsTheVersionUnderOtherNamesAndFollowsThere) {
  CustodyWorld world;
  world.create();
  auto imported = std::make_shared<FakeKeyVault>("here", world.env.clock());
  imported->import_version("copy", *world.kv, "kek", world.v1);
  world.resolver.add(imported);
  world.resolver.forget("kv");
  world.resolver.places[world.v1] = {"here", "copy"};
  ASSERT_TRUE(world.open().ok());
  const std::string next = imported->add_version("copy");
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.custody->status().settings.key_vault, "here");
  EXPECT_EQ(world.role(next), VersionRole::active);
  ASSERT_TRUE(world.open().ok());
}

TEST(KeyCustodyTest, ARetiringVersionDisabledTooEarlyIsToldAndHeals) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  world.kv->info("kek", world.v1).enabled = false;
  refresh(world);
  ASSERT_TRUE(world.custody->status().problem);
  EXPECT_EQ(world.custody->status().problem->code, ErrorCode::KeyVersionDisabledTooEarly);
  ASSERT_TRUE(world.open().ok());
  EXPECT_TRUE(world.custody->status().problem);
  world.kv->info("kek", world.v1).enabled = true;
  refresh(world);
  EXPECT_FALSE(world.custody->status().problem);
  // And it blocks nothing.
  world.kv->remove_version("kek", world.v1);
  refresh(world);
  complete_backup(world);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

TEST(KeyCustodyTest, AnExpiredActiveVersionKeepsTheOldOnesRetiringAndSaysWhy) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  world.kv->info("kek", v2).expires = world.env.clock().now().seconds();
  EXPECT_THAT(refresh(world).retired, IsEmpty());
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  EXPECT_THAT(world.custody->status().versions[0].waiting_for, HasSubstr("expired"));
  // A successor takes effect without any wrap by the expired one, and all retire by the job after it.
  const std::string v3 = world.kv->add_version("kek");
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
  EXPECT_EQ(world.role(v3), VersionRole::active);
  EXPECT_EQ(world.role(v2), VersionRole::retiring);
  ASSERT_TRUE(world.open().ok());
}

TEST(KeyCustodyTest, AnOutageDuringTheProofDelaysRetirement) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  world.kv->outage = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  ASSERT_FALSE(world.open().ok());
  world.kv->outage = false;
  ASSERT_TRUE(world.open().ok());  // condition (a) is persistent
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

// What anybody could put beside the owner's versions must neither be followed nor hold up a rotation.
TEST(KeyCustodyTest, AVersionThatCanBeNoKekStandsInNobodysWay) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  const std::string planted = world.kv->add_version("kek");
  world.kv->info("kek", planted).key_type = "AES (a public object)";
  EXPECT_TRUE(refresh(world).version_changed);
  EXPECT_EQ(world.role(v2), VersionRole::active);
  // Nor is a new vault kept from the newest that it can use.
  const auto versions = world.kv->list_versions("kek");
  ASSERT_TRUE(versions.ok());
  const auto chosen = version_of_reference(*versions, std::nullopt, world.env.clock().now().seconds());
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(chosen->id, v2);
}

}  // namespace
}  // namespace vaultfs
