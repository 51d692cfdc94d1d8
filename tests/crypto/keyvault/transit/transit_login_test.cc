#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/crypto/keyvault/transit/transit_fixture.h"

namespace vaultfs {
namespace {

constexpr std::string_view kLoginContent = "a data encryption key, to be kept secret";

// An AppRole's logins at a Transit engine: how many, with what, and what becomes of their tokens.
class TransitServerLoginTest : public ::testing::Test {
 protected:
  ProviderOptions by_app_role() {
    ProviderOptions options = world_.options();
    options.erase("token-file");
    options["role-id"] = "role";
    options["secret-id-file"] = "/secret-id";
    return options;
  }
  int state(const char* what) { return world_.engine().ask({{"do", "state"}})[what].get<int>(); }
  int logins() { return state("logins"); }

  TransitWorld world_;
};

TEST_F(TransitServerLoginTest, AppRoleLogsInOnceAndAgainWhenItMust) {
  world_.create("kek");
  world_.engine().ask({{"do", "credentials"}, {"role_id", "role"}, {"secret_id", "sec\"ret\\id"}, {"lease", 1000}});
  world_.machine().write_secret("/secret-id", "sec\"ret\\id\n");
  const ProviderOptions options = by_app_role();
  const auto vault = world_.open(options);
  EXPECT_EQ(logins(), 0);
  const Bytes wrapped = value_of(vault->wrap("kek", "1", bytes_of(kLoginContent)));
  succeed(vault->set_enabled("kek", "1", true));
  EXPECT_EQ(logins(), 1);
  world_.engine().ask({{"do", "expire-logins"}});
  EXPECT_EQ(value_of(vault->list_versions("kek")).size(), 1U);
  EXPECT_EQ(logins(), 2);
  // Shortly before the end of its lease.
  world_.machine().env().sim_clock().advance_seconds(950);
  EXPECT_EQ(value_of(vault->list_versions("kek")).size(), 1U);
  EXPECT_EQ(logins(), 3);
  // A denial stays one after a single new login.
  world_.engine().ask({{"do", "deny"}, {"on", true}});
  EXPECT_TRUE(fails(vault->list_versions("kek"), ErrorCode::KeyVaultDenied, "permission denied"));
  EXPECT_EQ(logins(), 4);
  world_.engine().ask({{"do", "deny"}, {"on", false}});
  world_.engine().ask({{"do", "expire-logins"}});
  world_.machine().write_secret("/secret-id", "another-secret-id");
  const auto refused = vault->list_versions("kek");
  EXPECT_TRUE(fails(refused, ErrorCode::KeyVaultDenied, "AppRole"));
  EXPECT_EQ(refused.error().message.find("another-secret-id"), std::string::npos);
  world_.engine().requests();
}

TEST_F(TransitServerLoginTest, ACutOffOrMisledLoginIsNoRefusal) {
  world_.create("kek");
  const ProviderOptions options = by_app_role();
  world_.machine().write_secret("/secret-id", "the-secret-id-of-the-role");
  const auto login_answers = [&](int status, const char* text) {
    world_.engine().fault(
        {{"kind", "status"}, {"status", status}, {"body", {{"errors", {text}}}}, {"path", "/auth/approle/login"}});
    const auto listed = world_.open(options)->list_versions("kek");
    world_.engine().heal();
    return listed;
  };
  // A cluster that became a secondary of disaster recovery, and paths that are not mounted.
  for (const char* const text : {"path disabled in replication DR secondary mode", "missing client token"}) {
    EXPECT_TRUE(fails(login_answers(400, text), ErrorCode::KeyVaultUnavailable, text));
  }
  for (const char* const text :
       {"invalid role or secret ID", "invalid role ID", "invalid secret id", "missing secret_id",
        "failed to validate secret_id: invalid secret_id",
        "source address \"10.0.0.1\" unauthorized through CIDR restrictions on the secret ID"}) {
    EXPECT_TRUE(fails(login_answers(400, text), ErrorCode::KeyVaultDenied, "AppRole"));
  }
  EXPECT_TRUE(fails(login_answers(403, "permission denied"), ErrorCode::KeyVaultDenied));
}

TEST_F(TransitServerLoginTest, ALoginWhoseAnswerWasLostIsNotRepeated) {
  world_.create("kek");
  world_.engine().ask({{"do", "credentials"}, {"role_id", "role"}, {"secret_id", "once-or-twice"}, {"uses", 2}});
  world_.machine().write_secret("/secret-id", "once-or-twice");
  const auto vault = world_.open(by_app_role());
  world_.engine().fault({{"kind", "cut"}, {"times", 1}, {"path", "/auth/approle/login"}});
  EXPECT_TRUE(fails(vault->list_versions("kek"), ErrorCode::KeyVaultUnavailable));
  EXPECT_EQ(logins(), 1) << "the first use is spent, the second one is not";
  // What a server says that it has not done is tried again.
  world_.engine().fault({{"kind", "status"}, {"status", 503}, {"times", 1}, {"path", "/auth/approle/login"}});
  EXPECT_EQ(value_of(vault->list_versions("kek")).size(), 1U);
  EXPECT_EQ(logins(), 2);
}

TEST_F(TransitServerLoginTest, TheTokenOfALoginIsRevokedAtTheEnd) {
  world_.create("kek");
  world_.engine().ask({{"do", "credentials"}, {"role_id", "role"}, {"secret_id", "secret"}});
  world_.machine().write_secret("/secret-id", "secret");
  const auto tokens = [&] { return state("tokens"); };
  auto vault = world_.open(by_app_role());
  EXPECT_EQ(value_of(vault->list_versions("kek")).size(), 1U);
  EXPECT_EQ(tokens(), 1);
  vault.reset();
  EXPECT_EQ(tokens(), 0);
  // One that never logged in has nothing to say, and a token of the owner's own stays.
  world_.engine().requests();
  world_.open(by_app_role());
  EXPECT_EQ(value_of(world_.open()->list_versions("kek")).size(), 1U);
  EXPECT_EQ(world_.engine().requests().size(), 1U);
  // A server that has stopped answering holds nobody up.
  vault = world_.open(by_app_role());
  EXPECT_EQ(value_of(vault->list_versions("kek")).size(), 1U);
  world_.engine().fault({{"kind", "hang"}});
  const auto before = std::chrono::steady_clock::now();
  vault.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  world_.engine().heal();
}

}  // namespace
}  // namespace vaultfs
