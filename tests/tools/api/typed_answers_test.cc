#include <gtest/gtest.h>

#include <memory>

#include "tests/support/scratch_directory.h"
#include "tools/api/damage_requests.h"
#include "tools/api/job_records.h"
#include "tools/api/vault_overview.h"

namespace vaultfs {
namespace {

// A platform-managed vault that this process owns.
class TypedAnswersTest : public testing::Test {
 protected:
  void SetUp() override {
    MachineOptions machine_options;
    machine_options.home = scratch_ / "home";
    auto machine = Machine::open(machine_options);
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = std::move(*machine);
    VaultCreateOptions create;
    create.path = scratch_ / "vault";
    create.region = "eu";
    create.no_recovery = true;
    ASSERT_TRUE(Vault::create(machine_->for_vault(), create).ok());
    VaultEngine::Options options;
    options.vault.path = create.path;
    options.background = false;
    auto engine = VaultEngine::open(machine_->for_vault(), options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
  }
  [[nodiscard]] RequestContext context() {
    return {*engine_, *machine_, 0, {}, 0, [](const Progress&) { return true; }};
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<VaultEngine> engine_;
};

TEST_F(TypedAnswersTest, AnOverviewIsOfTheVaultThatIsOpen) {
  const VaultOverview overview = vault_overview(context());
  EXPECT_EQ(overview.header.id, engine_->vault().header().id);
  EXPECT_EQ(overview.header.region, "eu");
  EXPECT_EQ(overview.path, scratch_ / "vault");
  EXPECT_TRUE(overview.mounted_on.empty());
  EXPECT_TRUE(overview.items.empty());
  EXPECT_TRUE(overview.reserve.has_value());
  EXPECT_FALSE(overview.key_exports.has_value()) << "no key of a key vault is needed";
}

TEST_F(TypedAnswersTest, TheCurrentEpochIsToldThoughNothingIsStoredUnderIt) {
  const EncryptionOverview overview = encryption_overview(engine_->vault());
  ASSERT_EQ(overview.epochs.size(), 1U);
  EXPECT_EQ(overview.epochs.front().use.epoch, overview.status.current_epoch);
  EXPECT_EQ(overview.epochs.front().use.segments, 0U);
  EXPECT_EQ(overview.epochs.front().versions.size(), 1U);
}

TEST_F(TypedAnswersTest, WithoutKeysNobodyKnowsWhatDamageWasKnown) {
  const auto with_keys = verify_and_remember(context(), false);
  ASSERT_TRUE(with_keys.ok()) << with_keys.error().message;
  EXPECT_EQ(with_keys->known_damage, 0U);
  EXPECT_FALSE(with_keys->examined.has_value()) << "there was nothing to look at";
  const auto keyless = verify_and_remember(context(), true);
  ASSERT_TRUE(keyless.ok()) << keyless.error().message;
  EXPECT_FALSE(keyless->known_damage.has_value());
}

TEST_F(TypedAnswersTest, AJobThatIsNotThereIsAnError) {
  EXPECT_EQ(job_record(engine_->vault(), JobNumber(4711)).code(), ErrorCode::JobNotFound);
  const auto entries = activity_records(engine_->vault());
  ASSERT_TRUE(entries.ok()) << entries.error().message;
  EXPECT_EQ(entries->front().operation, "vault.create");
}

}  // namespace
}  // namespace vaultfs
