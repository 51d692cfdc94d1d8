#include "vaultmeta/machine/key_vault_comparison.h"

#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

class KeyVaultComparisonTest : public testing::Test {
 protected:
  void transit(const std::string& name, const std::string& address, const std::string& mount,
               const std::string& name_space = "") {
    ProviderOptions options{{"address", address}, {"mount", mount}, {"token-file", "/token"}};
    if (!name_space.empty()) options["namespace"] = name_space;
    succeed(registry_.add(name, "transit", options));
  }
  void kmip(const std::string& name, const std::string& address) {
    succeed(registry_.add(name, "kmip",
                          {{"address", address},
                           {"ca-file", "/ca.pem"},
                           {"client-cert-file", "/cert.pem"},
                           {"client-key-file", "/key.pem"}}));
  }
  Sameness compare(const std::string& one, const std::string& other) {
    return KeyVaultComparison(registry_, one).with(other);
  }

  SimEnv env_;
  LocalKeyVaults local_{env_, "/home", nullptr};
  KeyVaultRegistry registry_{env_, "/home", local_};
};

TEST_F(KeyVaultComparisonTest, TheSameAddressIsTheSameKeyVault) {
  transit("one", "https://bao.example", "transit");
  transit("two", "HTTPS://Bao.Example:443/", "transit");
  transit("deep", "https://bao.example", "team/transit");
  transit("space", "https://bao.example", "transit", "team");
  transit("mount", "https://bao.example", "other");
  transit("port", "https://bao.example:8200", "transit");
  EXPECT_EQ(compare("one", "one"), Sameness::same);
  EXPECT_EQ(compare("one", "two"), Sameness::same);
  EXPECT_EQ(compare("deep", "space"), Sameness::same) << "a namespace may stand in the path";
  // Names of servers are many, and what is behind them can't be told from here.
  for (const char* other : {"deep", "mount", "port"}) EXPECT_EQ(compare("one", other), Sameness::unknown) << other;
  kmip("km", "HSM.example");
  kmip("km2", "hsm.example:5696");
  EXPECT_EQ(compare("km", "km2"), Sameness::same);
  EXPECT_EQ(compare("km", "one"), Sameness::different) << "of another kind";
}

TEST_F(KeyVaultComparisonTest, WhatCannotBeComparedMayBeAnything) {
  transit("one", "https://bao.example", "transit");
  EXPECT_EQ(compare("one", "gone"), Sameness::unknown);
  EXPECT_EQ(compare("gone", "one"), Sameness::different) << "what is no key vault of this machine has no keys";
  EXPECT_EQ(compare("one", ""), Sameness::different) << "a platform key";
  // A token that can't be asked: its module is not there.
  succeed(registry_.add("hsm", "pkcs11", {{"module", "/no/module.so"}, {"token", "a"}}));
  succeed(registry_.add("hsm2", "pkcs11", {{"module", "/no/module.so"}, {"token", "b"}}));
  EXPECT_EQ(compare("hsm", "hsm2"), Sameness::unknown);
}

TEST_F(KeyVaultComparisonTest, KeysAreOneByTheirNameAndWhereIdentifiersNameThemByThat) {
  transit("one", "https://bao.example", "transit");
  transit("two", "https://bao.example", "transit");
  KeyVaultComparison bao(registry_, "one");
  EXPECT_EQ(bao.same_version("kek", "two", "kek", "1"), Sameness::same);
  EXPECT_EQ(bao.same_version("kek", "two", "other", "1"), Sameness::different);
  EXPECT_EQ(bao.same_key("kek", "two", "kek"), Sameness::same);
  kmip("km", "hsm.example");
  kmip("km2", "hsm.example");
  KeyVaultComparison server(registry_, "km");
  EXPECT_EQ(server.same_version("kek", "km2", "alias", "17"), Sameness::same) << "a KMIP key may have several names";
  EXPECT_EQ(server.same_key("kek", "km2", "alias"), Sameness::different);
}

TEST_F(KeyVaultComparisonTest, ARegionCanBeSaidLater) {
  kmip("km", "hsm.example");
  succeed(local_.create("office", {}, nullptr));
  for (const char* name : {"km", "office"}) {
    succeed(registry_.set_region(name, "West Europe"));
    EXPECT_EQ(value_of(value_of(registry_.open(name))->properties()).region, "West Europe") << name;
    EXPECT_TRUE(fails(registry_.set_region(name, "a\nb"), ErrorCode::InvalidArgument));
    succeed(registry_.set_region(name, ""));
    EXPECT_EQ(value_of(value_of(registry_.open(name))->properties()).region, std::nullopt) << name;
  }
  EXPECT_TRUE(fails(registry_.set_region("nosuch", "x"), ErrorCode::KeyVaultNotFound));
}

}  // namespace
}  // namespace vaultfs
