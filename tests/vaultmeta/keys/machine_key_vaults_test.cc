#include "vaultmeta/keys/machine_key_vaults.h"

#include <gtest/gtest.h>

#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

// A passphrase on a descriptor can be read once, and a vault asks its key vault many times.
TEST(MachineKeyVaults, AsksForAPassphraseOnceForAllOpenings) {
  SimEnv env;
  int asked = 0;
  bool there = false;
  LocalKeyVaults vaults(env, "/home", [&](const std::string&) -> Result<SecretBuffer> {
    if (!there) return Error{ErrorCode::NotFound, "the disk with the passphrase file is away"};
    if (++asked > 1) return Error{ErrorCode::PassphraseRequired, "read already"};
    return secret("pass");
  });
  const SecretBuffer passphrase = secret("pass");
  LocalKeyVaultOptions options;
  options.protection = LocalProtection::passphrase;
  ASSERT_TRUE(vaults.create("kv", options, &passphrase).ok());
  KeyVaultRegistry registry(env, "/home", vaults);
  IdentityStore identities(env, "/home");
  MachineKeyVaults resolver(registry, identities);
  const VaultIdentity as;
  const Identity own = value_of(identities.create_system(as.vault));
  succeed(value_of(registry.open_local("kv"))->allow({own.id, "own", KeyPermissions::backup()}, false));
  const auto away = resolver.open("kv", as);
  ASSERT_TRUE(away.ok());
  const auto made = vaults.open("kv");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->create_key("kek", {2048, {}, {}}).code(), ErrorCode::NotFound);
  there = true;
  const auto version = (*made)->create_key("kek", {2048, {}, {}});
  ASSERT_TRUE(version.ok());
  asked = 0;
  for (int i = 0; i < 3; ++i) {
    const auto opened =
        i == 2 ? resolver.locate(version->id, as, KeyVaultResolver::Reach::machine)
               : Result<KeyVaultResolver::Located>(KeyVaultResolver::Located{resolver.open("kv", as).value(), "kek"});
    ASSERT_TRUE(opened.ok());
    const auto wrapped = opened->key_vault->wrap("kek", version->id, bytes_of("content"));
    ASSERT_TRUE(wrapped.ok());
    const auto unwrapped = opened->key_vault->unwrap("kek", version->id, "RSA-OAEP-256", *wrapped);
    ASSERT_TRUE(unwrapped.ok()) << unwrapped.error().message;
    EXPECT_EQ(text_of(unwrapped->view()), "content");
  }
  EXPECT_EQ(asked, 1);
  // It is no copy: what goes away is away.
  env.remove("/home/keyvaults/kv");
  EXPECT_EQ(resolver.open("kv", as).code(), ErrorCode::KeyVaultUnavailable);
}

// A machine with a local key vault "kv" that enforces policies, and its key.
class MachineKeyVaultsTest : public testing::Test {
 protected:
  MachineKeyVaultsTest() {
    succeed(vaults_.create("kv", {}, nullptr));
    key_vault_ = value_of(registry_.open_local("kv"));
    version_ = value_of(key_vault_->create_key("kek", {2048, {}, {}})).id;
    as_.vault = random_id<VaultId>(env_);
  }
  Result<std::vector<KeyVersionInfo>> list() {
    VAULTFS_ASSIGN_OR_RETURN(const auto opened, resolver_.open("kv", as_));
    return opened->list_versions("kek");
  }
  void remove_member_access() {
    std::string text(text_of(ByteView(env_.read("/home/keyvaults/kv/vault.json"))));
    const std::size_t at = text.find(",\n  \"access\"");
    ASSERT_NE(at, std::string::npos);
    text.erase(at, text.find("]", at) + 1 - at);
    env_.write("/home/keyvaults/kv/vault.json", bytes_of(text));
  }

  SimEnv env_;
  LocalKeyVaults vaults_{env_, "/home", nullptr};
  KeyVaultRegistry registry_{env_, "/home", vaults_};
  IdentityStore identities_{env_, "/home"};
  MachineKeyVaults resolver_{registry_, identities_};
  std::shared_ptr<LocalKeyVault> key_vault_;
  std::string version_;
  VaultIdentity as_;
};

TEST_F(MachineKeyVaultsTest, AVaultIsIntroducedAndDismissed) {
  EXPECT_TRUE(fails(list(), ErrorCode::IdentityNotFound, "vaultctl identity create --vault VAULT"));
  const auto take_back = value_of(resolver_.introduce(as_, "kv"));
  EXPECT_TRUE(list().ok());
  const auto policies = value_of(key_vault_->access());
  ASSERT_EQ(policies->size(), 1U);
  EXPECT_EQ((*policies)[0].identity, value_of(identities_.find(as_)).id);
  VaultIdentity other;
  other.vault = random_id<VaultId>(env_);
  EXPECT_TRUE(fails(resolver_.open("kv", other), ErrorCode::IdentityNotFound));
  take_back();
  EXPECT_TRUE(fails(list(), ErrorCode::IdentityNotFound));
  EXPECT_TRUE(value_of(key_vault_->access())->empty());
  EXPECT_TRUE(value_of(identities_.list()).empty());

  value_of(resolver_.introduce(as_, "kv"));
  succeed(dismiss_vault(registry_, identities_, as_.vault));
  EXPECT_TRUE(value_of(key_vault_->access())->empty());
  EXPECT_TRUE(fails(list(), ErrorCode::IdentityNotFound));
  succeed(dismiss_vault(registry_, identities_, as_.vault));
}

TEST_F(MachineKeyVaultsTest, AnIntroductionThatFailsLeavesNothing) {
  EXPECT_TRUE(fails(resolver_.introduce(as_, "nosuch"), ErrorCode::KeyVaultUnavailable));
  as_.name = "nosuch";
  EXPECT_TRUE(fails(resolver_.introduce(as_, "kv"), ErrorCode::IdentityNotFound, "nosuch"));
  EXPECT_TRUE(value_of(identities_.list()).empty());
  EXPECT_TRUE(value_of(key_vault_->access())->empty());
}

// A vault that is recovered has an identity, and perhaps access: what was there before is not taken back.
TEST_F(MachineKeyVaultsTest, AnIdentityThatIsThereIsIntroducedAsItIs) {
  const Identity own = value_of(identities_.create_system(as_.vault));
  value_of(resolver_.introduce(as_, "kv"))();
  EXPECT_EQ(value_of(identities_.find(as_)).id, own.id);
  EXPECT_TRUE(value_of(key_vault_->access())->empty());
  value_of(resolver_.introduce(as_, "kv"));
  EXPECT_TRUE(list().ok());
  EXPECT_EQ(value_of(identities_.find(as_)).id, own.id);
  value_of(resolver_.introduce(as_, "kv"))();
  EXPECT_TRUE(list().ok());

  KeyPermissions less;
  less.add(KeyPermission::get);
  succeed(key_vault_->allow({own.id, "own", less}, false));
  value_of(resolver_.introduce(as_, "kv"));
  EXPECT_EQ(value_of(key_vault_->access())->at(0).permissions, less) << "its owner's decision";
}

TEST_F(MachineKeyVaultsTest, DisabledDeniedAndMadeAgain) {
  value_of(resolver_.introduce(as_, "kv"));
  const Identity own = value_of(identities_.find(as_));
  succeed(identities_.set_enabled(own, false));
  EXPECT_TRUE(fails(list(), ErrorCode::IdentityDisabled, "vaultctl identity enable " + own.id));
  succeed(identities_.set_enabled(own, true));
  EXPECT_TRUE(list().ok());
  succeed(identities_.remove(own));
  EXPECT_TRUE(fails(identities_.set_enabled(own, true), ErrorCode::IdentityNotFound));
  const Identity again = value_of(identities_.create_system(as_.vault));
  EXPECT_NE(again.id, own.id);
  EXPECT_TRUE(fails(list(), ErrorCode::KeyVaultDenied, again.id));
  succeed(key_vault_->allow({again.id, "again", KeyPermissions::backup()}, false));
  EXPECT_TRUE(list().ok());
  EXPECT_TRUE(fails(identities_.create_system(as_.vault), ErrorCode::AlreadyExists));
}

TEST_F(MachineKeyVaultsTest, AKeyVaultOlderThanPoliciesAsksForNoIdentityButRefusesADisabledOne) {
  remove_member_access();
  EXPECT_TRUE(list().ok());
  value_of(resolver_.introduce(as_, "kv"));
  EXPECT_FALSE(value_of(key_vault_->access()).has_value());
  EXPECT_TRUE(list().ok());
  succeed(identities_.set_enabled(value_of(identities_.find(as_)), false));
  EXPECT_TRUE(fails(list(), ErrorCode::IdentityDisabled));
}

// The version stands in a key vault of another name, which does not let the vault in: that is what there is to do.
TEST_F(MachineKeyVaultsTest, ALocatedPlaceIsBoundByItsPoliciesToo) {
  EXPECT_TRUE(fails(resolver_.locate(version_, as_, KeyVaultResolver::Reach::everywhere), ErrorCode::IdentityNotFound));
  value_of(resolver_.introduce(as_, ""));
  EXPECT_TRUE(fails(resolver_.locate(version_, as_, KeyVaultResolver::Reach::everywhere), ErrorCode::KeyVaultDenied));
  const Identity own = value_of(identities_.find(as_));
  succeed(key_vault_->allow({own.id, "own", KeyPermissions::backup()}, false));
  EXPECT_EQ(value_of(resolver_.locate(version_, as_, KeyVaultResolver::Reach::machine)).key, "kek");
  EXPECT_TRUE(fails(resolver_.locate(std::string(32, '0'), as_, KeyVaultResolver::Reach::everywhere),
                    ErrorCode::KeyVersionNotFound));
}

TEST_F(MachineKeyVaultsTest, RotationPoliciesRunAsTheAdministrator) {
  EXPECT_FALSE(value_of(resolver_.rotate_if_due("kv", "kek")));
  succeed(key_vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 7}));
  env_.sim_clock().advance_seconds(7 * 24 * 3600);
  EXPECT_TRUE(value_of(resolver_.rotate_if_due("kv", "kek")));
  EXPECT_FALSE(value_of(resolver_.rotate_if_due("kv", "kek")));
  EXPECT_EQ(value_of(key_vault_->list_versions("kek")).size(), 2U);
}

TEST(IdentityStoreTest, UserAssignedOnesByNameAndId) {
  SimEnv env;
  IdentityStore identities(env, "/home");
  EXPECT_TRUE(value_of(identities.list()).empty());
  const Identity made = value_of(identities.create("backup", {{"client-id", "42"}}));
  EXPECT_EQ(value_of(identities.find("backup")).id, made.id);
  EXPECT_EQ(value_of(identities.find(made.id)).options.at("client-id"), "42");
  EXPECT_TRUE(fails(identities.create("backup", {}), ErrorCode::AlreadyExists));
  for (const std::string& name :
       {std::string("system"), std::string("a/b"), std::string(), std::string("vault.x"), made.id}) {
    EXPECT_TRUE(fails(identities.create(name, {}), ErrorCode::InvalidName)) << name;
  }
  EXPECT_TRUE(fails(identities.create("bad", {{"x", "\xff"}}), ErrorCode::InvalidArgument));
  EXPECT_TRUE(fails(identities.find("nosuch"), ErrorCode::IdentityNotFound, "vaultctl identity create nosuch"));
  EXPECT_TRUE(fails(identities.find("system"), ErrorCode::IdentityNotFound));
  EXPECT_TRUE(fails(identities.find(std::string(32, '0')), ErrorCode::IdentityNotFound));
  succeed(identities.remove(made));
  EXPECT_NE(value_of(identities.create("backup", {})).id, made.id);
}

// Deleted and made anew between a caller's look and its change: what it knows is gone, the other one is not its own.
TEST(IdentityStoreTest, AnIdentityThatIsGoneDoesNotComeBack) {
  SimEnv env;
  IdentityStore identities(env, "/home");
  const Identity old = value_of(identities.create("backup", {}));
  succeed(identities.remove(old));
  EXPECT_TRUE(fails(identities.set_enabled(old, false), ErrorCode::IdentityNotFound));
  EXPECT_TRUE(value_of(identities.list()).empty());
  const Identity made = value_of(identities.create("backup", {}));
  EXPECT_TRUE(fails(identities.set_enabled(old, false), ErrorCode::IdentityNotFound));
  succeed(identities.remove(old));
  EXPECT_EQ(value_of(identities.find("backup")).id, made.id);
  EXPECT_TRUE(value_of(identities.find("backup")).enabled);
  // What changed since the caller's look stays changed.
  Identity stale = made;
  stale.options = {{"client-id", "42"}};
  succeed(identities.set_enabled(stale, false));
  EXPECT_TRUE(value_of(identities.find("backup")).options.empty());
  EXPECT_FALSE(value_of(identities.find("backup")).enabled);
}

TEST(IdentityStoreTest, DamageIsNeverAbsence) {
  SimEnv env;
  IdentityStore identities(env, "/home");
  value_of(identities.create("backup", {}));
  const Env::Path path = "/home/identities/backup.json";
  const std::string good(text_of(ByteView(env.read(path))));
  const auto replaced = [&good](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const std::string& bad :
       {std::string(), good.substr(0, good.size() / 2), replaced("\"backup\"", "\"other\""),
        replaced("\"enabled\": true", "\"enabled\": 1"), replaced("\"vault\": null", "\"vault\": \"00\""),
        replaced("\"options\": {}", "\"options\": []"), replaced("\"id\": \"", "\"id\": \"X")}) {
    env.write(path, bytes_of(bad));
    EXPECT_TRUE(fails(identities.find("backup"), ErrorCode::DamagedMachineState, path.string())) << bad;
    EXPECT_TRUE(fails(identities.list(), ErrorCode::DamagedMachineState));
  }
  env.write(path, bytes_of(replaced("\"format\": 1", "\"format\": 2")));
  EXPECT_TRUE(fails(identities.find("backup"), ErrorCode::UnsupportedFormat));
}

}  // namespace
}  // namespace vaultfs
