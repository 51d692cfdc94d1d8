#include "vaultmeta/key_custody.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "crypto/hash.h"
#include "tests/support/custody_world.h"
#include "vaultmeta/kek_access.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Every refresh is expected to work unless the test says otherwise.
RefreshOutcome refresh(CustodyWorld& world) {
  auto outcome = world.custody->refresh();
  EXPECT_TRUE(outcome.ok()) << error_name(outcome.code()) << ": " << outcome.error().message;
  return outcome.ok() ? std::move(outcome).value() : RefreshOutcome{};
}

void complete_backup(CustodyWorld& world, std::uint64_t job = 1) {
  const Lsn begun = world.host->next_lsn();
  world.host->lsn = Lsn(begun.value + 10);
  ASSERT_TRUE(world.custody->job_completed(JobNumber(job), begun).ok());
}

// No slot of any keyring file of the vault opens for the version any more.
void expect_locked_out(CustodyWorld& world, const std::string& version) {
  const auto rsa = world.kv->rsa("kek", version);
  for (const Env::Path& file : world.keyring_files()) {
    const auto closed = ClosedKeyring::decode(world.env.read(file));
    ASSERT_TRUE(closed.ok());
    for (const KeyringSlot& slot : closed->slots) {
      EXPECT_NE(slot.version, version) << file;
      EXPECT_FALSE(rsa->decrypt(slot.wrapped).ok()) << file << " slot of " << slot.version;
    }
  }
}

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
  EXPECT_EQ(world.custody->status().last_update_status, "None");
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
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.soft_delete = false; }, "kv/kek"), ErrorCode::SoftDeleteRequired);
  EXPECT_EQ(code([](CustodyWorld& w) { w.kv->answer.purge_protection = false; }, "kv/kek"),
            ErrorCode::PurgeProtectionRequired);
  EXPECT_EQ(code([](CustodyWorld& w) { w.resolver.unknown_identities = {"system"}; }, "kv/kek"),
            ErrorCode::IdentityNotFound);
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
    EXPECT_THAT(world.custody->status().last_update_status, HasSubstr("Failed: "));
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
  EXPECT_EQ(world.role(world.v1), VersionRole::retired);
  const auto closed_at = [&] {
    return world.custody->keys()
        .with_dek(EpochNumber(1),
                  [](const EpochKeys::Epoch& e) -> Result<std::optional<ContainerNumber>> { return e.last_segment; })
        .value();
  };
  EXPECT_EQ(closed_at(), std::nullopt);  // segments of the old epoch may still be written
  world.host->fail_roll = false;
  world.host->segment = ContainerNumber(12);
  refresh(world);
  EXPECT_EQ(closed_at(), ContainerNumber(12));
  expect_locked_out(world, world.v1);
}

TEST(KeyCustodyTest, CustomerManagedKeysAreForNewVaults) {
  CustodyWorld world;
  world.create(std::nullopt);
  ASSERT_TRUE(world.custody->set_key(KeyRef::parse("kv/kek").value()).ok());
  EXPECT_TRUE(world.custody->status().settings.customer_managed);
  complete_backup(world);
  EXPECT_EQ(refresh(world).retired.size(), 1U);
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
