#include "tools/cli/key_impact.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/scratch_directory.h"
#include "vaultmeta/vault.h"

namespace vaultfs {
namespace {

// A machine with the key vault "office", its key "backup", and a vault under it.
class KeyImpactTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run").c_str(), 1);
    context_.machine_options.home = scratch_ / "home";
    auto machine = context_.machine();
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = *machine;
    ASSERT_TRUE(machine_->key_vaults().create("office", {}, nullptr).ok());
    auto key_vault = machine_->key_vaults().open("office");
    ASSERT_TRUE(key_vault.ok());
    key_vault_ = std::move(*key_vault);
    auto key = key_vault_->create_key("backup", {2048, std::nullopt, std::nullopt});
    ASSERT_TRUE(key.ok());
    version_ = key->id;
    VaultCreateOptions options;
    options.path = vault();
    options.key = KeyRef{"office", "backup", std::nullopt};
    const auto created = Vault::create(machine_->for_vault(), options);
    ASSERT_TRUE(created.ok()) << created.error().message;
    id_ = created->id;
  }
  void TearDown() override { ::unsetenv("VAULTFS_RUNTIME_DIR"); }

  [[nodiscard]] std::filesystem::path vault() const { return scratch_ / "vault"; }
  [[nodiscard]] std::vector<VaultImpact> impact(const KeyRef& key) {
    auto found = find_impact(context_, key);
    EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message);
    return found.ok() ? std::move(*found) : std::vector<VaultImpact>();
  }
  // The machine's list says that the vault uses another key now, as after `encryption set` and a backup.
  void register_under(const std::string& key) {
    const std::vector<RegisteredKey> needed{{"office", key, "00000000000000000000000000000001"}};
    ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "office", key, needed}).ok());
  }
  // Nobody can open the vault until the version is enabled again.
  void lock_out() { ASSERT_TRUE(key_vault_->set_enabled("backup", version_, false).ok()); }

  ScratchDirectory scratch_;
  CommandContext context_;
  Machine* machine_ = nullptr;
  std::unique_ptr<LocalKeyVault> key_vault_;
  std::string version_;
  VaultId id_;
  const KeyRef backup_{"office", "backup", std::nullopt};
  const KeyRef other_{"office", "other", std::nullopt};
};

TEST_F(KeyImpactTest, AVaultThatAnswersSaysWhatItNeeds) {
  const auto found = impact(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].reachable);
  EXPECT_EQ(found[0].path, vault().string());
  EXPECT_EQ(found[0].role_of(version_), "Active");
  EXPECT_TRUE(found[0].needs(version_));
  EXPECT_FALSE(found[0].needs("0123456789abcdef0123456789abcdef"));
  EXPECT_TRUE(impact(other_).empty());
}

TEST_F(KeyImpactTest, TheVeryVersionCountsUnderAnyName) {
  const auto found = impact(KeyRef{"elsewhere", "imported", version_});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].needs(version_));
}

// Where versions are numbered, each key has a version "1".
TEST_F(KeyImpactTest, ANumberIsAVersionOfItsOwnKeyOnly) {
  const std::vector<RegisteredKey> needed{{"bao", "mine", "1"}};
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "bao", "mine", needed}).ok());
  std::filesystem::rename(vault(), scratch_ / "moved");
  EXPECT_EQ(impact(KeyRef{"bao", "mine", "1"}).size(), 1U);
  EXPECT_TRUE(impact(KeyRef{"bao", "another", "1"}).empty());
}

TEST_F(KeyImpactTest, AVaultThatCannotBeOpenedNeedsEveryVersionOfItsKey) {
  lock_out();
  const auto found = impact(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].reachable);
  // A disabled Active version is a revocation (architecture, rule 1).
  EXPECT_EQ(found[0].problem.code, ErrorCode::KeyRevoked) << found[0].problem.message;
  EXPECT_TRUE(found[0].needs(version_));
  EXPECT_TRUE(found[0].needs("0123456789abcdef0123456789abcdef"));
  EXPECT_TRUE(impact(other_).empty());
}

TEST_F(KeyImpactTest, ItsSlotsCountThoughTheRegistrationNamesAnotherKey) {
  lock_out();
  register_under("other");
  ASSERT_EQ(impact(backup_).size(), 1U) << "a slot names the key";
  EXPECT_TRUE(impact(backup_)[0].needs(version_));
  EXPECT_EQ(impact(KeyRef{"elsewhere", "imported", version_}).size(), 1U) << "a slot names the version";
  EXPECT_EQ(impact(other_).size(), 1U) << "the registration names the key";
  EXPECT_TRUE(impact(KeyRef{"office", "third", std::nullopt}).empty());
}

TEST_F(KeyImpactTest, AVaultThatIsGoneNeedsWhatItsRegistrationNames) {
  std::filesystem::rename(vault(), scratch_ / "moved");
  ASSERT_EQ(impact(backup_).size(), 1U);
  EXPECT_EQ(impact(backup_)[0].problem.code, ErrorCode::VaultNotFound);
  EXPECT_TRUE(impact(backup_)[0].needs(version_));
  register_under("other");
  EXPECT_TRUE(impact(backup_).empty());
  EXPECT_EQ(impact(other_).size(), 1U);
}

TEST_F(KeyImpactTest, UnreadableKeyringsLeaveTheRegistration) {
  std::filesystem::remove_all(vault() / "keyrings");
  ASSERT_EQ(impact(backup_).size(), 1U);
  EXPECT_FALSE(impact(backup_)[0].reachable);
  EXPECT_TRUE(impact(other_).empty());
}

TEST_F(KeyImpactTest, AnotherVaultInItsPlaceDoesNotSpeakForIt) {
  std::filesystem::rename(vault(), scratch_ / "moved");
  VaultCreateOptions options;
  options.path = vault();
  options.no_recovery = true;  // platform-managed: needs no key of the key vault
  ASSERT_TRUE(Vault::create(machine_->for_vault(), options).ok());
  const auto found = impact(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].reachable);
  EXPECT_EQ(found[0].vault, to_hex(id_.view()));
  EXPECT_TRUE(found[0].needs(version_));
}

TEST_F(KeyImpactTest, AVaultThatIsAwayStillNeedsTheRetiringVersionOfItsOldKey) {
  ASSERT_TRUE(key_vault_->create_key("other", {2048, std::nullopt, std::nullopt}).ok());
  CommandContext& context = context_;
  VaultRequest wanted{vault().string(), "encryption.set"};
  wanted.arguments = {{"key", "office/other"}};
  const auto set = request(context, std::move(wanted));
  ASSERT_TRUE(set.ok()) << set.error().message;
  std::filesystem::rename(vault(), scratch_ / "moved");  // its disk is away
  ASSERT_EQ(impact(backup_).size(), 1U) << "the old key has a Retiring version";
  EXPECT_FALSE(impact(backup_)[0].reachable);
  EXPECT_TRUE(impact(backup_)[0].needs(version_));
  EXPECT_EQ(impact(other_).size(), 1U);
  EXPECT_EQ(impact(KeyRef{"elsewhere", "imported", version_}).size(), 1U);
  EXPECT_TRUE(impact(KeyRef{"office", "third", std::nullopt}).empty());
}

TEST_F(KeyImpactTest, ARegistrationWithoutAListLeavesEveryVersionNeeded) {
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "office", "other"}).ok());
  EXPECT_EQ(impact(KeyRef{"office", "third", std::nullopt}).size(), 0U) << "the vault itself can be asked";
  std::filesystem::rename(vault(), scratch_ / "moved");
  for (const KeyRef& key : {backup_, other_, KeyRef{"office", "third", std::nullopt}}) {
    ASSERT_EQ(impact(key).size(), 1U);
    EXPECT_TRUE(impact(key)[0].needs("0123456789abcdef0123456789abcdef"));
  }
}

}  // namespace
}  // namespace vaultfs
