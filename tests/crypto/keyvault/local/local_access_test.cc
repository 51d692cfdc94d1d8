#include "crypto/keyvault/local/access.h"
#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

const std::string kVault(32, 'a');
const std::string kOther(32, 'b');

class LocalAccessTest : public LocalKeyVaultTest {
 protected:
  LocalAccessTest() { version_ = value_of(vault_->create_key("kek", small_key())).id; }
  std::shared_ptr<AdministeredKeyVault> as(const std::string& id) {
    return bind_identity(LocalKeyVault::open(env_, "/kv", "local", nullptr), {id, "the vault of the test"});
  }
  void allow(const std::string& id, std::string_view permissions) {
    succeed(vault_->allow({id, "label", value_of(KeyPermissions::parse(permissions))}, false));
  }
  std::string version_;
};

TEST_F(LocalAccessTest, ANewKeyVaultLetsNobodyInButItsAdministrator) {
  const auto bound = as(kVault);
  EXPECT_TRUE(fails(bound->list_versions("kek"), ErrorCode::KeyVaultDenied, "list to the vault of the test"));
  EXPECT_TRUE(fails(bound->list_keys(), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(fails(bound->wrap("kek", version_, bytes_of("x")), ErrorCode::KeyVaultDenied, "wrapkey"));
  EXPECT_TRUE(fails(bound->unwrap("kek", version_, kOaep, {}), ErrorCode::KeyVaultDenied, "unwrapkey"));
  EXPECT_TRUE(fails(bound->wrap_algorithm("kek", version_), ErrorCode::KeyVaultDenied, "get"));
  EXPECT_TRUE(fails(bound->list_keys(), ErrorCode::KeyVaultDenied,
                    "vaultctl keyvault allow local --identity " + kVault + " --template backup"));
  EXPECT_TRUE(bound->properties().ok());
  EXPECT_TRUE(vault_->wrap("kek", version_, bytes_of("x")).ok());
}

// Each permission opens its own calls and no other.
TEST_F(LocalAccessTest, EachPermissionIsAskedForByItself) {
  const Bytes wrapped = value_of(vault_->wrap("kek", version_, bytes_of("content")));
  const auto bound = as(kVault);
  for (const std::string granted : {"get", "list", "wrapkey", "unwrapkey"}) {
    allow(kVault, granted);
    EXPECT_EQ(bound->wrap_algorithm("kek", version_).ok(), granted == "get") << granted;
    EXPECT_EQ(bound->list_versions("kek").ok(), granted == "list") << granted;
    EXPECT_EQ(bound->wrap("kek", version_, bytes_of("x")).ok(), granted == "wrapkey") << granted;
    EXPECT_EQ(bound->unwrap("kek", version_, kOaep, wrapped).ok(), granted == "unwrapkey") << granted;
  }
  EXPECT_TRUE(fails(as(kOther)->list_versions("kek"), ErrorCode::KeyVaultDenied));
}

TEST_F(LocalAccessTest, AnIdentityAdministersNothing) {
  allow(kVault, "get,list,wrapkey,unwrapkey");
  const auto bound = as(kVault);
  EXPECT_TRUE(fails(bound->create_key("other", small_key()), ErrorCode::NotSupportedByProvider));
  EXPECT_TRUE(fails(bound->set_enabled("kek", version_, false), ErrorCode::NotSupportedByProvider));
  EXPECT_TRUE(fails(bound->delete_key("kek"), ErrorCode::NotSupportedByProvider));
  EXPECT_TRUE(value_of(vault_->list_versions("kek"))[0].enabled);
}

TEST_F(LocalAccessTest, DenyTakesAwayAndAllowReplaces) {
  allow(kVault, "get,list");
  allow(kOther, "list");
  allow(kVault, "wrapkey");
  const auto policies = value_of(vault_->access());
  ASSERT_TRUE(policies.has_value());
  ASSERT_EQ(policies->size(), 2U);
  EXPECT_EQ((*policies)[1].identity, kVault);
  EXPECT_EQ((*policies)[1].permissions.names(), std::vector<std::string>{"wrapkey"});
  succeed(vault_->deny(kVault));
  EXPECT_TRUE(fails(vault_->deny(kVault), ErrorCode::NotFound));
  EXPECT_TRUE(fails(as(kVault)->wrap("kek", version_, bytes_of("x")), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(as(kOther)->list_versions("kek").ok());
}

// A key vault of before policies has no member "access".
TEST_F(LocalAccessTest, AnOlderKeyVaultLetsEverybodyInUntilItIsToldNotTo) {
  std::string text(text_of(ByteView(env_.read("/kv/vault.json"))));
  const std::string member = ",\n  \"access\": []";
  ASSERT_NE(text.find(member), std::string::npos) << text;
  text.erase(text.find(member), member.size());
  const std::string retention = ",\n  \"retention_days\": 90";
  ASSERT_NE(text.find(retention), std::string::npos) << text;
  text.erase(text.find(retention), retention.size());
  env_.write("/kv/vault.json", bytes_of(text));
  EXPECT_FALSE(value_of(vault_->access()).has_value());
  EXPECT_EQ(value_of(vault_->options()).retention_days, 90U);
  EXPECT_TRUE(as(kVault)->list_versions("kek").ok());
  const AccessPolicy policy{kOther, "label", KeyPermissions::backup()};
  EXPECT_TRUE(fails(vault_->allow(policy, false), ErrorCode::InvalidArgument, "--enforce"));
  EXPECT_TRUE(as(kVault)->list_versions("kek").ok());
  succeed(vault_->allow(policy, true));
  EXPECT_TRUE(fails(as(kVault)->list_versions("kek"), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(as(kOther)->list_versions("kek").ok());
}

TEST(KeyPermissions, AreParsedStrictly) {
  EXPECT_EQ(value_of(KeyPermissions::parse("unwrapkey,get")).names(), (std::vector<std::string>{"get", "unwrapkey"}));
  EXPECT_EQ(KeyPermissions::backup().names(), (std::vector<std::string>{"get", "list", "wrapkey", "unwrapkey"}));
  for (const char* bad : {"", ",", "get,", "Get", "get, list", "all", "wrapKey"}) {
    EXPECT_TRUE(fails(KeyPermissions::parse(bad), ErrorCode::InvalidArgument)) << bad;
  }
}

}  // namespace
}  // namespace vaultfs
