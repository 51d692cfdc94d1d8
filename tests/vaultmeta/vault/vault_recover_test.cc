#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vaultmeta/keys/escrow_steps.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/vault/recover.h"

namespace vaultfs {
namespace {

using ::testing::ElementsAre;

VaultCreateOptions with_escrow(const char* key) {
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;
  if (key != nullptr) options.key = KeyRef::parse(key).value();
  options.escrow_key = escrow_key().public_der().value();
  return options;
}

RecoverOptions under(const char* key) {
  RecoverOptions options;
  options.path = "/vault";
  if (key != nullptr) options.keys.key = KeyRef::parse(key).value();
  return options;
}

// A vault of one point under kv/kek, closed; and another key vault, "spare".
class VaultRecoverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.kv->add_version("kek");
    const auto created = world_.create(with_escrow("kv/kek"));
    ASSERT_OK(created);
    fingerprint_ = created->fingerprint;
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm", "content"));
    ASSERT_OK(world_.close());
    spare_ = std::make_shared<FakeKeyVault>("spare", world_.env.clock());
    spare_->add_version("new");
    world_.resolver.add(spare_);
  }

  VaultWorld world_;
  std::shared_ptr<FakeKeyVault> spare_;
  VaultFingerprint fingerprint_;
};

TEST_F(VaultRecoverTest, TheDrillProvesItWithoutAKeyVaultAndTouchesNothing) {
  world_.resolver.forget("kv");
  const VaultWorld::Files before = world_.files();
  EXPECT_TRUE(drill_escrow(world_.machine(), "/vault", escrow_key()).ok());
  EXPECT_EQ(world_.files(), before);
  const auto other = RsaKey::generate(2048);
  ASSERT_OK(other);
  EXPECT_EQ(drill_escrow(world_.machine(), "/vault", **other).code(), ErrorCode::WrongKey);
  EXPECT_EQ(world_.files(), before);
}

TEST_F(VaultRecoverTest, TheDrillHoldsAgainstThePin) {
  const VaultWorld::Files older = world_.files();
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm", "more"));
  ASSERT_OK(world_.close());
  world_.put_back(older);
  EXPECT_EQ(drill_escrow(world_.machine(), "/vault", escrow_key()).code(), ErrorCode::RollbackDetected);
}

TEST_F(VaultRecoverTest, ANewKeyVaultTakesThePlaceOfTheLostOne) {
  world_.resolver.forget("kv");
  EXPECT_EQ(world_.open().code(), ErrorCode::KeyVaultUnavailable);
  const auto status = recover_vault(world_.machine(), under("spare/new"), escrow_key());
  ASSERT_OK(status);
  EXPECT_EQ(status->settings.key_vault, "spare");
  ASSERT_OK(world_.open());
  EXPECT_THAT(world_.points(), ElementsAre("vm=content"));
  // A job and an activity record, in the vault; a record on the machine.
  const auto jobs = world_.vault->catalogue().jobs();
  EXPECT_TRUE(std::any_of(jobs.begin(), jobs.end(), [](const JobInfo& job) {
    return job.kind == JobKind::key_update && job.detail.starts_with("vault.recover ");
  }));
  const auto activities = world_.vault->activity().entries();
  ASSERT_OK(activities);
  EXPECT_TRUE(std::any_of(activities->begin(), activities->end(), [](const ActivityEntry& entry) {
    return entry.operation == "vault.recover" && entry.outcome == "Succeeded";
  }));
  const auto audit = world_.machine_state->audit_entries();
  ASSERT_OK(audit);
  EXPECT_TRUE(
      std::any_of(audit->begin(), audit->end(), [](const AuditEntry& entry) { return entry.what == "vault.recover"; }));
  // The machine's list protects the new key, and no longer the lost one.
  const auto registrations = world_.machine_state->registrations();
  ASSERT_OK(registrations);
  ASSERT_EQ(registrations->size(), 1U);
  ASSERT_TRUE(registrations->front().needed);
  ASSERT_EQ(registrations->front().needed->size(), 1U);
  EXPECT_EQ(registrations->front().needed->front().key_vault, "spare");
  ASSERT_OK(world_.back_up("vm", "more"));
  ASSERT_OK(world_.close());
}

TEST_F(VaultRecoverTest, AMachineThatDoesNotKnowTheVaultWantsItsFingerprint) {
  world_.resolver.forget("kv");
  world_.start_machine("/elsewhere");
  EXPECT_EQ(drill_escrow(world_.machine(), "/vault", escrow_key()).code(), ErrorCode::VaultUnverified);
  EXPECT_EQ(recover_vault(world_.machine(), under("spare/new"), escrow_key()).code(), ErrorCode::VaultUnverified);
  RecoverOptions options = under("spare/new");
  options.fingerprint = VaultFingerprint{EpochNumber(1), Digest{}};
  EXPECT_EQ(recover_vault(world_.machine(), options, escrow_key()).code(), ErrorCode::FingerprintMismatch);
  options.fingerprint = fingerprint_;
  ASSERT_OK(recover_vault(world_.machine(), options, escrow_key()));
  ASSERT_OK(world_.open());
  EXPECT_THAT(world_.points(), ElementsAre("vm=content"));
  EXPECT_EQ(world_.machine_state->registrations()->size(), 1U);
}

TEST_F(VaultRecoverTest, NothingChangesWithoutTheRightKeys) {
  const VaultWorld::Files before = world_.files();
  const auto other = RsaKey::generate(2048);
  ASSERT_OK(other);
  EXPECT_EQ(recover_vault(world_.machine(), under("spare/new"), **other).code(), ErrorCode::WrongKey);
  EXPECT_EQ(world_.files(), before);
  EXPECT_EQ(recover_vault(world_.machine(), under("spare/none"), escrow_key()).code(), ErrorCode::KeyNotFound);
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->custody().status().settings.key_vault, "kv");
  EXPECT_EQ(recover_vault(world_.machine(), under("spare/new"), escrow_key()).code(), ErrorCode::VaultBusy);
}

// A key vault that lets in only whom the machine has introduced.
class AskingResolver final : public KeyVaultResolver {
 public:
  explicit AskingResolver(FakeResolver& inner) : inner_(inner) {}
  Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override {
    if (key_vault == let_in_at) return inner_.open(key_vault, as);
    return Error{ErrorCode::KeyVaultDenied, "not introduced"};
  }
  Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override {
    return inner_.locate(version, as, reach);
  }
  Result<TakeBack> introduce(const VaultIdentity&, const std::string& key_vault) override {
    let_in_at = key_vault;
    return TakeBack([this] { let_in_at.clear(); });
  }
  std::string let_in_at;

 private:
  FakeResolver& inner_;
};

TEST_F(VaultRecoverTest, TheVaultIsIntroducedToItsNewKeyVaultUnlessNothingComesOfIt) {
  world_.resolver.forget("kv");
  AskingResolver asking(world_.resolver);
  const Vault::Machine machine{world_.env, *world_.machine_state, *world_.platform_keys, asking};
  EXPECT_EQ(recover_vault(machine, under("spare/none"), escrow_key()).code(), ErrorCode::KeyNotFound);
  EXPECT_EQ(asking.let_in_at, "");
  ASSERT_OK(recover_vault(machine, under("spare/new"), escrow_key()));
  EXPECT_EQ(asking.let_in_at, "spare");
}

TEST(VaultEscrowCreationTest, AnEscrowKeyIsARecoveryChoice) {
  VaultWorld world;
  ASSERT_OK(world.create(with_escrow(nullptr)));
  ASSERT_OK(world.open());
  ASSERT_TRUE(world.vault->custody().status().escrow);
  ASSERT_OK(world.back_up("vm", "content"));
  ASSERT_OK(world.close());
  // The machine is lost.
  for (const auto& file : world.env.files("/home/platform-keys")) world.env.remove(file);
  EXPECT_EQ(world.open().code(), ErrorCode::PlatformKeyMissing);
  ASSERT_OK(recover_vault(world.machine(), under(nullptr), escrow_key()));
  ASSERT_OK(world.open());
  EXPECT_THAT(world.points(), ElementsAre("vm=content"));
}

// A vault of one point on two layers, with an escrow key and without a recovery file; the machine it was made on is
// gone. Its key is kv/kek, or the machine's.
class VaultEscrowOnTwoLayersTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    world_.kv->add_version("kek");
    VaultCreateOptions options = with_escrow(GetParam());
    options.infrastructure_encryption = true;
    const auto created = world_.create(options);
    ASSERT_OK(created);
    recovery_ = under(GetParam() != nullptr ? "spare/new" : nullptr);
    recovery_.fingerprint = created->fingerprint;
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm", "content"));
    ASSERT_OK(world_.close());
    spare_ = std::make_shared<FakeKeyVault>("spare", world_.env.clock());
    spare_->add_version("new");
    world_.resolver.add(spare_);
    world_.resolver.forget("kv");
    home_ = world_.files("/home/platform-keys");
    world_.start_machine("/elsewhere");
  }

  // The keys that a machine has by now.
  [[nodiscard]] std::size_t keys_at(const Env::Path& home) const {
    const auto files = world_.env.files(home);
    return static_cast<std::size_t>(
        std::count_if(files.begin(), files.end(), [](const auto& file) { return file.extension() == ".key"; }));
  }

  VaultWorld world_;
  std::shared_ptr<FakeKeyVault> spare_;
  RecoverOptions recovery_;
  VaultWorld::Files home_;
};

TEST_P(VaultEscrowOnTwoLayersTest, TheEscrowKeyAloneRecoversIt) {
  ASSERT_OK(recover_vault(world_.machine(), recovery_, escrow_key()));
  ASSERT_OK(world_.open());
  EXPECT_THAT(world_.points(), ElementsAre("vm=content"));
  ASSERT_OK(world_.back_up("vm", "more"));
  EXPECT_THAT(world_.points(), ElementsAre("vm=content", "vm=more"));
  ASSERT_OK(world_.close());
  const auto drilled = drill_escrow(world_.machine(), "/vault", escrow_key());
  ASSERT_OK(drilled);
  EXPECT_EQ(drilled->has_infrastructure_key, true);
}

TEST_P(VaultEscrowOnTwoLayersTest, ARecoveryThatIsRefusedLeavesNoKeyHere) {
  const VaultWorld::Files before = world_.files();
  RecoverOptions wrong = recovery_;
  wrong.fingerprint = VaultFingerprint{EpochNumber(1), Digest{}};
  EXPECT_EQ(recover_vault(world_.machine(), wrong, escrow_key()).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(recover_vault(world_.machine(), recovery_, escrow_key(1)).code(), ErrorCode::WrongKey);
  EXPECT_EQ(world_.files(), before);
  wrong = recovery_;
  wrong.keys.key = KeyRef::parse("spare/none").value();
  EXPECT_FALSE(recover_vault(world_.machine(), wrong, escrow_key()).ok());
  EXPECT_EQ(keys_at("/elsewhere"), 0U);
  ASSERT_OK(recover_vault(world_.machine(), recovery_, escrow_key()));
  EXPECT_GT(keys_at("/elsewhere"), 0U);
}

// The drill proves it where the machine's key is gone, and tells where the keyring has none.
TEST_P(VaultEscrowOnTwoLayersTest, TheDrillTellsWhetherTheSecondLayersKeyWouldComeBack) {
  world_.start_machine("/home");
  for (const auto& [file, bytes] : home_) world_.env.remove(file);
  const VaultWorld::Files before = world_.files();
  auto drilled = drill_escrow(world_.machine(), "/vault", escrow_key());
  ASSERT_OK(drilled);
  EXPECT_EQ(drilled->has_infrastructure_key, true);
  EXPECT_EQ(world_.files(), before);
  EXPECT_EQ(keys_at("/home"), 0U);

  ASSERT_NO_FATAL_FAILURE(make_version_2(world_.env));
  EXPECT_EQ(drill_escrow(world_.machine(), "/vault", escrow_key()).code(), ErrorCode::PlatformKeyMissing);
  for (const auto& [file, bytes] : home_) world_.env.write(file, bytes);
  drilled = drill_escrow(world_.machine(), "/vault", escrow_key());
  ASSERT_OK(drilled);
  EXPECT_EQ(drilled->has_infrastructure_key, false);
}

INSTANTIATE_TEST_SUITE_P(Keys, VaultEscrowOnTwoLayersTest, ::testing::Values("kv/kek", nullptr),
                         [](const auto& key) { return key.param != nullptr ? "CustomerManaged" : "PlatformManaged"; });

}  // namespace
}  // namespace vaultfs
