#include <gtest/gtest.h>

#include <string>

#include "tests/crypto/keyvault/outcome.h"
#include "tests/crypto/keyvault/rest_double.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/machine_key_vaults.h"

namespace vaultfs {
namespace {

// A machine with two Transit engines, "first" and "second", of different owners. Both have a key "kek", whose versions
// are named by numbers there: "1" of one has nothing to do with "1" of the other.
class TwoExternalKeyVaults : public testing::Test {
 protected:
  TwoExternalKeyVaults() {
    prepare("first", first_);
    prepare("second", second_);
    as_.vault = random_id<VaultId>(env_);
    value_of(resolver_.introduce(as_, ""));
  }
  void prepare(const std::string& name, RestDouble& engine) {
    env_.write("/" + name + ".pem", value_of(read_file(posix_env(), engine.file("ca.pem"), 1 << 20)));
    env_.write("/token", bytes_of("hvs.the-root-token-of-the-double"));
    engine.ask({{"do", "create"}, {"name", "kek"}, {"type", "aes256-gcm96"}});
    engine.ask({{"do", "rotate"}, {"name", "kek"}});
    succeed(registry_.add(name, "transit",
                          {{"address", engine.address()}, {"token-file", "/token"}, {"ca-file", "/" + name + ".pem"}}));
  }
  Result<ReachedKey> reach(const std::string& version) {
    return reach_version(resolver_, as_, "first", "kek", version);
  }

  SimEnv env_;
  LocalKeyVaults vaults_{env_, "/home", nullptr};
  KeyVaultRegistry registry_{env_, "/home", vaults_};
  IdentityStore identities_{env_, "/home"};
  MachineKeyVaults resolver_{registry_, identities_};
  RestDouble first_{"transit"};
  RestDouble second_{"transit"};
  VaultIdentity as_;
};

TEST_F(TwoExternalKeyVaults, AShortVersionIsNotLookedForElsewhere) {
  const ReachedKey reached = value_of(reach("2"));
  EXPECT_EQ(reached.key_vault->name(), "first");
  EXPECT_FALSE(reached.instead_of.has_value());
  EXPECT_EQ(second_.requests().size(), 0U);

  // A version that the key does not have, and a key that is gone: what "second" calls so is another key's.
  second_.ask({{"do", "rotate"}, {"name", "kek"}});
  EXPECT_TRUE(fails(reach("3"), ErrorCode::KeyVersionNotFound, "first/kek"));
  first_.ask({{"do", "remove"}, {"name", "kek"}});
  EXPECT_TRUE(fails(reach("2"), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(resolver_.locate("2", as_, KeyVaultResolver::Reach::everywhere), ErrorCode::KeyVersionNotFound));
  EXPECT_EQ(second_.requests().size(), 0U);

  // Nor when the machine has no "first" any more: an outage.
  succeed(registry_.remove("first"));
  EXPECT_TRUE(fails(reach("2"), ErrorCode::KeyVaultUnavailable));
  EXPECT_EQ(second_.requests().size(), 0U);
}

// So that the silence above says something: a version that is unique is asked for everywhere.
TEST_F(TwoExternalKeyVaults, AUniqueVersionIs) {
  EXPECT_TRUE(fails(reach(std::string(32, 'a')), ErrorCode::KeyVersionNotFound));
  EXPECT_GT(second_.requests().size(), 0U);
}

// The keys differ, so a wrap of one that is shown to the other must not open there either.
TEST_F(TwoExternalKeyVaults, NothingOfOneOpensAtTheOther) {
  const auto at = [&](const std::string& name) { return value_of(resolver_.open(name, as_)); };
  const std::string algorithm = value_of(at("first")->wrap_algorithm("kek", "1"));
  const Bytes wrapped = value_of(at("first")->wrap("kek", "1", bytes_of("content")));
  EXPECT_TRUE(fails(at("second")->unwrap("kek", "1", algorithm, wrapped), ErrorCode::AuthenticationFailed));
  EXPECT_EQ(text_of(value_of(at("first")->unwrap("kek", "1", algorithm, wrapped)).view()), "content");
}

}  // namespace
}  // namespace vaultfs
