#include "vaultmeta/machine/key_vault_registry.h"

#include "crypto/files/private_file.h"
#include "crypto/keyvault/provider_table.h"
#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

class KeyVaultRegistryTest : public testing::Test {
 protected:
  // As `add` writes it: the tests must not depend on which providers are built in.
  void write_registration(const std::string& name, const std::string& provider, const ProviderOptions& options) {
    ProviderFile file;
    file.name = name;
    file.provider = provider;
    file.options = options;
    succeed(ensure_private_directory(env_, "/home/keyvaults/" + name));
    env_.write("/home/keyvaults/" + name + "/provider.json", bytes_of(value_of(file.encode())));
  }
  std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const auto& entry : value_of(registry_.list())) out.push_back(entry.name + ":" + entry.provider);
    return out;
  }

  SimEnv env_;
  LocalKeyVaults local_{env_, "/home", nullptr};
  KeyVaultRegistry registry_{env_, "/home", local_};
};

TEST_F(KeyVaultRegistryTest, ListsBothKinds) {
  EXPECT_TRUE(value_of(registry_.list()).empty());
  succeed(local_.create("office", {}, nullptr));
  write_registration("hsm", "pkcs11", {{"module", "/lib/x.so"}, {"token", "a"}});
  EXPECT_EQ(names(), (std::vector<std::string>{"hsm:pkcs11", "office:local"}));
  EXPECT_EQ(value_of(registry_.find("hsm")).options.at("token"), "a");
  EXPECT_TRUE(fails(registry_.find("nosuch"), ErrorCode::KeyVaultUnavailable, "nosuch"));
  EXPECT_TRUE(fails(registry_.find("../x"), ErrorCode::InvalidName));
  EXPECT_TRUE(fails(registry_.open("nosuch"), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(registry_.open_local("hsm"), ErrorCode::NotSupportedByProvider, "pkcs11"));
}

TEST_F(KeyVaultRegistryTest, NamesAreShared) {
  write_registration("hsm", "kmip", {});
  EXPECT_TRUE(fails(local_.create("hsm", {}, nullptr), ErrorCode::KeyVaultExists));
  EXPECT_TRUE(fails(registry_.add("hsm", "nosuch", {}), ErrorCode::InvalidArgument, "pkcs11, azure, transit, kmip"));
  EXPECT_TRUE(fails(registry_.add("a/b", "kmip", {}), ErrorCode::InvalidName));
}

// Each provider refuses options that it does not know before anything is written.
TEST_F(KeyVaultRegistryTest, OptionsAreCheckedFirst) {
  for (const char* const provider : {"pkcs11", "azure", "transit", "kmip"}) {
    const Status added = registry_.add("kv", provider, {{"no-such-option", "x"}});
    EXPECT_TRUE(fails(added, ErrorCode::InvalidArgument, "no-such-option")) << provider;
  }
  EXPECT_TRUE(value_of(registry_.list()).empty());
}

TEST_F(KeyVaultRegistryTest, ALocalOneIsOpenedOnceAndItsGoingIsSeen) {
  succeed(local_.create("office", {}, nullptr));
  EXPECT_EQ(value_of(registry_.open_local("office")), value_of(registry_.open_local("office")));
  env_.remove("/home/keyvaults/office");
  EXPECT_TRUE(fails(registry_.open("office"), ErrorCode::KeyVaultUnavailable));
}

TEST_F(KeyVaultRegistryTest, WhatIsNoLongerRightIsNotRemoved) {
  write_registration("hsm", "pkcs11", {});
  succeed(local_.create("empty", {}, nullptr));
  for (const char* const name : {"hsm", "empty"}) {
    const auto refuse = [&]() -> Status {
      EXPECT_EQ(env_.lock(std::string("/home/keyvaults/") + name + "/lock").code(), ErrorCode::VaultBusy) << name;
      return Error{ErrorCode::TryAgain, "a vault needs it by now"};
    };
    EXPECT_TRUE(fails(registry_.remove(name, refuse), ErrorCode::TryAgain)) << name;
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"empty:local", "hsm:pkcs11"}));
  succeed(registry_.remove("hsm", [] { return ok_status(); }));
}

TEST_F(KeyVaultRegistryTest, RemoveTakesTheRegistrationAndNeverKeys) {
  write_registration("hsm", "pkcs11", {});
  env_.write("/home/keyvaults/hsm/versions.json", bytes_of("{}"));
  succeed(registry_.remove("hsm"));
  EXPECT_TRUE(names().empty());
  EXPECT_FALSE(env_.exists("/home/keyvaults/hsm/versions.json"));
  EXPECT_TRUE(fails(registry_.remove("hsm"), ErrorCode::KeyVaultNotFound));
  succeed(local_.create("hsm", {}, nullptr));  // the name is free again
  value_of(value_of(registry_.open_local("hsm"))->create_key("kek", small_key()));
  EXPECT_TRUE(fails(registry_.remove("hsm"), ErrorCode::KeyVaultInUse, "kek"));
  EXPECT_EQ(names(), std::vector<std::string>{"hsm:local"});
  succeed(local_.create("empty", {}, nullptr));
  succeed(registry_.remove("empty"));
  EXPECT_EQ(names(), std::vector<std::string>{"hsm:local"});
}

TEST_F(KeyVaultRegistryTest, WhatACrashLeavesIsNotTakenForAKeyVault) {
  succeed(ensure_private_directory(env_, "/home/keyvaults/cut"));
  env_.write("/home/keyvaults/cut/lock", {});
  env_.write("/home/keyvaults/cut/provider.json.tmp", bytes_of("{"));
  EXPECT_TRUE(names().empty());
  succeed(local_.create("cut", {}, nullptr));
  EXPECT_EQ(names(), std::vector<std::string>{"cut:local"});
}

TEST_F(KeyVaultRegistryTest, DamageIsNamedAndHidesNoOther) {
  succeed(local_.create("office", {}, nullptr));
  write_registration("hsm", "pkcs11", {});
  const Env::Path path = "/home/keyvaults/hsm/provider.json";
  const Bytes good = env_.read(path);
  for (const char* bad :
       {"", "{", "[]", R"({"format":1})", R"({"format":1,"name":"other","created":1,"provider":"x","options":{}})",
        R"({"format":1,"name":"hsm","created":1,"provider":"x","options":{"a":1}})",
        R"({"format":1,"name":"hsm","created":1,"provider":"x","options":[]})"}) {
    env_.write(path, bytes_of(bad));
    EXPECT_TRUE(fails(registry_.find("hsm"), ErrorCode::DamagedMachineState, path.string())) << bad;
    const auto entries = value_of(registry_.list());
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_TRUE(entries[0].problem.has_value());
    EXPECT_EQ(entries[1].provider, "local");
  }
  env_.write(path, bytes_of(R"({"format":2})"));
  EXPECT_TRUE(fails(registry_.find("hsm"), ErrorCode::UnsupportedFormat));
  env_.write(path, good);
  EXPECT_EQ(value_of(registry_.find("hsm")).provider, "pkcs11");
}

TEST_F(KeyVaultRegistryTest, OptionsThatAreNoTextAreRefused) {
  ProviderFile file;
  file.name = "hsm";
  file.options = {{"token", "\xff"}};
  EXPECT_TRUE(fails(file.encode(), ErrorCode::InvalidArgument));
  file.options = {{"token", std::string(70'000, 'x')}};
  EXPECT_TRUE(fails(file.encode(), ErrorCode::InvalidArgument));
}

}  // namespace
}  // namespace vaultfs
