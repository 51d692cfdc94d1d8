#include "tools/api/keys/who_needs_key.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/scratch_directory.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "vaultmeta/vault/registration.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// A machine with the key vault "office", its key "backup", and a vault under it.
class WhoNeedsKeyTest : public testing::Test {
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
  [[nodiscard]] std::vector<VaultNeed> needs(const KeyRef& key) {
    auto found = who_needs_key(*context_.machine_context(), key);
    EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message);
    return found.ok() ? std::move(*found) : std::vector<VaultNeed>();
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

TEST_F(WhoNeedsKeyTest, AVaultThatAnswersSaysWhatItNeeds) {
  const auto found = needs(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].reachable);
  EXPECT_EQ(found[0].path, vault().string());
  EXPECT_EQ(found[0].use_of(version_), VersionUse::active);
  EXPECT_TRUE(found[0].needs(version_));
  EXPECT_FALSE(found[0].needs("0123456789abcdef0123456789abcdef"));
  EXPECT_TRUE(needs(other_).empty());
}

TEST_F(WhoNeedsKeyTest, TheVeryVersionCountsUnderAnyName) {
  const auto found = needs(KeyRef{"elsewhere", "imported", version_});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].needs(version_));
}

// Where versions are numbered, each key has a version "1".
TEST_F(WhoNeedsKeyTest, ANumberIsAVersionOfItsOwnKeyOnly) {
  const std::vector<RegisteredKey> needed{{"bao", "mine", "1"}};
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "bao", "mine", needed}).ok());
  std::filesystem::rename(vault(), scratch_ / "moved");
  EXPECT_EQ(needs(KeyRef{"bao", "mine", "1"}).size(), 1U);
  EXPECT_TRUE(needs(KeyRef{"bao", "another", "1"}).empty());
}

// The same server may be registered twice, and another address may lead to it as well.
TEST_F(WhoNeedsKeyTest, ANumberCountsUnderEveryNameThatTheKeyVaultHas) {
  KeyVaultRegistry& registry = machine_->registry();
  const auto add = [&registry](const std::string& name, const std::string& address,
                               const std::string& mount = "transit") {
    ASSERT_TRUE(registry.add(name, "transit", {{"address", address}, {"mount", mount}, {"token-file", "/none"}}).ok());
  };
  add("bao", "https://bao.example");
  add("twin", "HTTPS://BAO.example:443/");
  add("other", "https://other.example");
  ASSERT_TRUE(registry.add("kmip", "kmip", {{"address", "bao.example:443"}, {"ca-file", "/none"}}).ok());
  const std::vector<RegisteredKey> needed{{"bao", "mine", "1"}};
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "bao", "mine", needed}).ok());
  std::filesystem::rename(vault(), scratch_ / "moved");
  EXPECT_EQ(needs(KeyRef{"bao", "mine", "1"}).size(), 1U);
  EXPECT_EQ(needs(KeyRef{"twin", "mine", "1"}).size(), 1U) << "the same server";
  EXPECT_EQ(needs(KeyRef{"twin", "mine", std::nullopt}).size(), 1U) << "the key as a whole";
  EXPECT_EQ(needs(KeyRef{"other", "mine", "1"}).size(), 1U) << "it may be the same server, and can't be asked";
  EXPECT_TRUE(needs(KeyRef{"twin", "another", "1"}).empty()) << "another key";
  EXPECT_TRUE(needs(KeyRef{"kmip", "mine", "1"}).empty()) << "another kind of key vault";
  EXPECT_TRUE(needs(KeyRef{"office", "mine", "1"}).empty()) << "a local one";
  // What is not registered can't be compared.
  ASSERT_TRUE(registry.remove("bao").ok());
  EXPECT_EQ(needs(KeyRef{"twin", "mine", "1"}).size(), 1U);
}

TEST_F(WhoNeedsKeyTest, AKeyVaultThatIsKnownByAnotherNameOnlyIsNotRemovedInDoubt) {
  ASSERT_TRUE(
      machine_->registry().add("twin", "transit", {{"address", "https://bao.example"}, {"token-file", "/none"}}).ok());
  const std::vector<RegisteredKey> needed{{"bao", "mine", "1"}};
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "bao", "mine", needed}).ok());
  std::filesystem::rename(vault(), scratch_ / "moved");
  const auto found = who_needs_key_vault(*context_.machine_context(), "twin");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->size(), 1U);
}

// A refusal that opened the vault as its owner would let it take up versions and retire others.
TEST_F(WhoNeedsKeyTest, ARefusalLeavesTheVaultAsItIs) {
  ASSERT_TRUE(key_vault_->rotate_key("backup", {2048, std::nullopt, std::nullopt}, true).ok());
  const auto before = glance_at_vault(machine_->env(), vault());
  ASSERT_TRUE(before.ok());
  KeyArguments arguments;
  arguments.key = "office/backup/" + version_;
  const auto refused = key_disable(context_, arguments);
  ASSERT_EQ(refused.code(), ErrorCode::KeyVersionInUse);
  EXPECT_NE(refused.error().message.find("encryption refresh " + vault().string()), std::string::npos)
      << refused.error().message;
  const auto after = glance_at_vault(machine_->env(), vault());
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->keyring_generation, before->keyring_generation);
  const auto entries = machine_->state().audit_entries();
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->back().what, "key.disable.refused");
}

TEST_F(WhoNeedsKeyTest, AVaultThatWasForgottenIsRegisteredByItsSlots) {
  const auto before = machine_->state().registrations_of(id_);
  ASSERT_TRUE(before.ok() && before->size() == 1);
  ASSERT_TRUE(machine_->state().forget_vault(id_).ok());
  EXPECT_TRUE(needs(backup_).empty());
  const auto glance = glance_at_vault(machine_->env(), vault());
  ASSERT_TRUE(glance.ok());
  ASSERT_TRUE(register_from_slots(machine_->state(), id_, vault(), glance->slots).ok());
  const auto after = machine_->state().registrations_of(id_);
  ASSERT_TRUE(after.ok() && after->size() == 1);
  EXPECT_EQ(after->front().path, before->front().path);
  EXPECT_EQ(after->front().key_vault, before->front().key_vault);
  EXPECT_EQ(after->front().key, before->front().key);
  EXPECT_EQ(after->front().needed, before->front().needed);
  EXPECT_EQ(after->front().identity, before->front().identity);
  EXPECT_EQ(needs(backup_).size(), 1U);
}

TEST_F(WhoNeedsKeyTest, AVaultThatCannotBeOpenedNeedsEveryVersionOfItsKey) {
  lock_out();
  const auto found = needs(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].reachable);
  // A disabled Active version is a revocation (architecture, rule 1).
  EXPECT_EQ(found[0].problem.code, ErrorCode::KeyRevoked) << found[0].problem.message;
  EXPECT_TRUE(found[0].needs(version_));
  EXPECT_TRUE(found[0].needs("0123456789abcdef0123456789abcdef"));
  EXPECT_TRUE(needs(other_).empty());
}

TEST_F(WhoNeedsKeyTest, ItsSlotsCountThoughTheRegistrationNamesAnotherKey) {
  lock_out();
  register_under("other");
  ASSERT_EQ(needs(backup_).size(), 1U) << "a slot names the key";
  EXPECT_TRUE(needs(backup_)[0].needs(version_));
  EXPECT_EQ(needs(KeyRef{"elsewhere", "imported", version_}).size(), 1U) << "a slot names the version";
  EXPECT_EQ(needs(other_).size(), 1U) << "the registration names the key";
  EXPECT_TRUE(needs(KeyRef{"office", "third", std::nullopt}).empty());
}

TEST_F(WhoNeedsKeyTest, AVaultThatIsGoneNeedsWhatItsRegistrationNames) {
  std::filesystem::rename(vault(), scratch_ / "moved");
  ASSERT_EQ(needs(backup_).size(), 1U);
  EXPECT_EQ(needs(backup_)[0].problem.code, ErrorCode::VaultNotFound);
  EXPECT_TRUE(needs(backup_)[0].needs(version_));
  register_under("other");
  EXPECT_TRUE(needs(backup_).empty());
  EXPECT_EQ(needs(other_).size(), 1U);
}

TEST_F(WhoNeedsKeyTest, UnreadableKeyringsLeaveTheRegistration) {
  std::filesystem::remove_all(vault() / "keyrings");
  ASSERT_EQ(needs(backup_).size(), 1U);
  EXPECT_FALSE(needs(backup_)[0].reachable);
  EXPECT_TRUE(needs(other_).empty());
}

TEST_F(WhoNeedsKeyTest, AnotherVaultInItsPlaceDoesNotSpeakForIt) {
  std::filesystem::rename(vault(), scratch_ / "moved");
  VaultCreateOptions options;
  options.path = vault();
  options.no_recovery = true;  // platform-managed: needs no key of the key vault
  ASSERT_TRUE(Vault::create(machine_->for_vault(), options).ok());
  const auto found = needs(backup_);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].reachable);
  EXPECT_EQ(found[0].vault, to_hex(id_.view()));
  EXPECT_TRUE(found[0].needs(version_));
}

TEST_F(WhoNeedsKeyTest, AVaultThatIsAwayStillNeedsTheRetiringVersionOfItsOldKey) {
  ASSERT_TRUE(key_vault_->create_key("other", {2048, std::nullopt, std::nullopt}).ok());
  CommandContext& context = context_;
  VaultRequest wanted{vault().string(), "encryption.set"};
  wanted.arguments = {{"key", "office/other"}};
  const auto set = request(context, std::move(wanted));
  ASSERT_TRUE(set.ok()) << set.error().message;
  std::filesystem::rename(vault(), scratch_ / "moved");  // its disk is away
  ASSERT_EQ(needs(backup_).size(), 1U) << "the old key has a Retiring version";
  EXPECT_FALSE(needs(backup_)[0].reachable);
  EXPECT_TRUE(needs(backup_)[0].needs(version_));
  EXPECT_EQ(needs(other_).size(), 1U);
  EXPECT_EQ(needs(KeyRef{"elsewhere", "imported", version_}).size(), 1U);
  EXPECT_TRUE(needs(KeyRef{"office", "third", std::nullopt}).empty());
}

TEST_F(WhoNeedsKeyTest, ARegistrationWithoutAListLeavesEveryVersionNeeded) {
  ASSERT_TRUE(machine_->state().register_vault({id_, vault(), "office", "other"}).ok());
  EXPECT_EQ(needs(KeyRef{"office", "third", std::nullopt}).size(), 0U) << "the vault itself can be asked";
  std::filesystem::rename(vault(), scratch_ / "moved");
  for (const KeyRef& key : {backup_, other_, KeyRef{"office", "third", std::nullopt}}) {
    ASSERT_EQ(needs(key).size(), 1U);
    EXPECT_TRUE(needs(key)[0].needs("0123456789abcdef0123456789abcdef"));
  }
}

}  // namespace
}  // namespace vaultfs
