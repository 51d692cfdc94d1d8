#include "vaultmeta/machine/local_key_vaults.h"

#include <gtest/gtest.h>

#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

class LocalKeyVaultsTest : public ::testing::Test {
 protected:
  std::unique_ptr<LocalKeyVault> made(const std::string& name) {
    succeed(vaults_.create(name, {}, nullptr));
    return value_of(vaults_.open(name));
  }
  SimEnv env_;
  LocalKeyVaults vaults_{env_, "/var/lib/home", nullptr};
};

TEST_F(LocalKeyVaultsTest, ListsWhatWasCreated) {
  EXPECT_TRUE(value_of(vaults_.list()).empty());
  EXPECT_FALSE(env_.exists("/var"));
  made("two");
  made("one");
  env_.make_directories("/var/lib/home/keyvaults/empty");
  EXPECT_EQ(value_of(vaults_.list()), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(vaults_.path_of("one"), "/var/lib/home/keyvaults/one");
  EXPECT_TRUE(fails(vaults_.create("one", {}, nullptr), ErrorCode::KeyVaultExists));
  EXPECT_TRUE(fails(vaults_.create("a/b", {}, nullptr), ErrorCode::InvalidName));
}

TEST_F(LocalKeyVaultsTest, MissingOneIsUnavailable) {
  EXPECT_TRUE(fails(vaults_.open("none"), ErrorCode::KeyVaultUnavailable, "none"));
  EXPECT_TRUE(fails(vaults_.open("../none"), ErrorCode::InvalidName));
  made("one");
  env_.copy("/var/lib/home/keyvaults/one/vault.json", "/var/lib/home/keyvaults/two/vault.json");
  EXPECT_TRUE(fails(vaults_.open("two"), ErrorCode::DamagedMachineState, "another name"));
}

TEST_F(LocalKeyVaultsTest, FindsAVersionUnderWhateverName) {
  const auto one = made("one");
  const auto two = made("two");
  const std::string id = value_of(one->create_key("kek", small_key())).id;
  const SecretBuffer passphrase = secret("pass");
  const std::string pem = value_of(one->export_version("kek", nullptr, passphrase));
  value_of(two->import_version("imported", bytes_of(pem), &passphrase, {}));
  value_of(two->create_key("other", small_key()));
  EXPECT_EQ(value_of(vaults_.find_version(id)), (std::vector<KeyRef>{{"one", "kek", id}, {"two", "imported", id}}));
  EXPECT_TRUE(value_of(vaults_.find_version(std::string(32, '0'))).empty());

  env_.cut("/var/lib/home/keyvaults/one/keys/kek.json", 100);
  EXPECT_EQ(value_of(vaults_.find_version(id)), (std::vector<KeyRef>{{"two", "imported", id}}));
  EXPECT_TRUE(fails(vaults_.find_version(std::string(32, '0')), ErrorCode::DamagedMachineState, "kek.json"));
}

TEST_F(LocalKeyVaultsTest, AsksForThePassphraseByName) {
  const SecretBuffer passphrase = secret("pass");
  succeed(vaults_.create("locked", {.protection = LocalProtection::passphrase, .region = {}}, &passphrase));
  std::vector<std::string> asked;
  LocalKeyVaults prompting(env_, "/var/lib/home", [&](const std::string& name) -> Result<SecretBuffer> {
    asked.push_back(name);
    return secret("pass");
  });
  const auto vault = value_of(prompting.open("locked"));
  EXPECT_TRUE(asked.empty());
  value_of(vault->create_key("kek", small_key()));
  value_of(vault->create_key("kek2", small_key()));
  EXPECT_EQ(asked, std::vector<std::string>{"locked"});
  EXPECT_TRUE(fails(value_of(vaults_.open("locked"))->create_key("kek3", small_key()), ErrorCode::PassphraseRequired));
}

}  // namespace
}  // namespace vaultfs
