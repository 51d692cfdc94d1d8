#include <gtest/gtest.h>

#include <string>

#include "crypto/keyvault/azure/rotation_policy.h"
#include "crypto/keyvault/http/json_answer.h"
#include "tests/crypto/keyvault/azure/azure_fixture.h"

namespace vaultfs {
namespace {

constexpr std::string_view kOfPortal =
    R"({"id":"https://office.vault.azure.net/keys/kek/rotationpolicy","lifetimeActions":[
        {"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},"action":{"type":"rotate"}},
        {"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],
        "attributes":{"expiryTime":"P2Y","created":1700000000,"updated":1700000001}})";

TEST(AzureRotationPolicies, AreReadAsTheServiceHasThem) {
  const AzureRotationPolicy policy = value_of(parse_azure_rotation_policy(kOfPortal));
  ASSERT_EQ(policy.actions.size(), 2U);
  // Months have no length in days, so they are shown as they are.
  EXPECT_EQ(policy.rotation(), (RotationPolicyText{"P18M", "", "P2Y"}));
  EXPECT_EQ(policy.actions[1], (AzureRotationPolicy::Action{"", "P30D", "Notify"}));
  const auto notifies = value_of(parse_azure_rotation_policy(
      R"({"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{}})"));
  EXPECT_FALSE(notifies.rotation().has_value());
  EXPECT_FALSE(value_of(parse_azure_rotation_policy(R"({"lifetimeActions":null})")).rotation().has_value());
}

TEST(AzureRotationPolicies, AreChangedWithoutWhatOnlyNotifies) {
  const AzureRotationPolicy before = value_of(parse_azure_rotation_policy(kOfPortal));
  const AzureRotationPolicy changed = before.with(RotationPolicy{.before_expiry_days = 30, .expiry_days = 90});
  EXPECT_EQ(changed.rotation(), (RotationPolicyText{"", "P30D", "P90D"}));
  ASSERT_EQ(changed.actions.size(), 2U);
  EXPECT_EQ(changed.actions[1], before.actions[1]);
  EXPECT_EQ(
      plain(changed.to_json()),
      R"({"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Rotate"}},)"
      R"({"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{"expiryTime":"P90D"}})");
  EXPECT_EQ(value_of(parse_azure_rotation_policy(changed.to_json())), changed);
  const AzureRotationPolicy none = before.with(std::nullopt);
  EXPECT_FALSE(none.rotation().has_value());
  EXPECT_EQ(none.actions.size(), 1U);
  EXPECT_TRUE(none.expiry.empty());
  EXPECT_EQ(plain(AzureRotationPolicy{}.to_json()), R"({"lifetimeActions":[],"attributes":{}})");
}

TEST(AzureRotationPolicies, WhatIsNotAsDocumentedDecidesNothing) {
  const auto action = [](const std::string& trigger, const std::string& rest = R"("action":{"type":"Rotate"})") {
    return R"({"lifetimeActions":[{"trigger":)" + trigger + "," + rest + "}]}";
  };
  ASSERT_TRUE(parse_azure_rotation_policy(action(R"({"timeAfterCreate":"P30D"})")).ok());
  for (const std::string& body :
       {std::string("{}"), std::string(R"({"lifetimeActions":{}})"), std::string(R"({"lifetimeActions":[1]})"),
        std::string(R"({"lifetimeActions":[],"attributes":1})"),
        std::string(R"({"lifetimeActions":[],"attributes":{"expiryTime":90}})"), action("{}"), action("null"),
        action(R"({"timeAfterCreate":"P30D","timeBeforeExpiry":"P30D"})"), action(R"({"timeAfterCreate":"30 days"})"),
        action(R"({"timeAfterCreate":"P"})"), action(R"({"timeAfterCreate":"PD"})"),
        action(R"({"timeAfterCreate":"P1D1M"})"), action(R"({"timeAfterCreate":"P30"})"),
        action(R"({"timeAfterCreate":"P30D\"}"})"), action(R"({"timeAfterCreate":"P99999999999999D"})"),
        action(R"({"timeAfterCreate":"P30D"})", R"("action":{"type":"Delete"})"),
        action(R"({"timeAfterCreate":"P30D"})", R"("action":{})"),
        action(R"({"timeAfterCreate":"P30D"})", R"("b":1)")}) {
    EXPECT_TRUE(fails(parse_azure_rotation_policy(body), ErrorCode::KeyVaultUnavailable)) << body;
  }
}

class AzureServerRotation : public ::testing::Test {
 protected:
  AzureWorld world_;
  std::unique_ptr<AdministeredKeyVault> vault_ = world_.open();
};

TEST_F(AzureServerRotation, APolicyIsSetShownAndTakenAway) {
  world_.create("kek");
  EXPECT_FALSE(value_of(vault_->describe_rotation_policy("kek")).has_value());
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 30, .expiry_days = 90}));
  EXPECT_EQ(value_of(vault_->describe_rotation_policy("kek")), (RotationPolicyText{"P30D", "", "P90D"}));
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.before_expiry_days = 7, .expiry_days = 28}));
  EXPECT_EQ(value_of(vault_->describe_rotation_policy("kek")), (RotationPolicyText{"", "P7D", "P28D"}));
  succeed(vault_->set_rotation_policy("kek", std::nullopt));
  EXPECT_FALSE(value_of(vault_->describe_rotation_policy("kek")).has_value());
  world_.azure().requests();  // none that is not documented

  const RotationPolicy too_often{.after_create_days = 6};
  EXPECT_TRUE(fails(vault_->set_rotation_policy("kek", too_often), ErrorCode::InvalidArgument));
  EXPECT_TRUE(world_.azure().requests().empty()) << "nobody is asked for what can't be";
  EXPECT_TRUE(fails(vault_->set_rotation_policy("nosuch", std::nullopt), ErrorCode::KeyNotFound, "nosuch"));
  EXPECT_TRUE(fails(vault_->describe_rotation_policy("nosuch"), ErrorCode::KeyNotFound, "nosuch"));
}

TEST_F(AzureServerRotation, WhatThePortalSetIsShownAndItsNotificationsKept) {
  world_.create("kek");
  world_.azure().ask({{"do", "policy"},
                      {"name", "kek"},
                      {"lifetimeActions",
                       {{{"trigger", {{"timeAfterCreate", "P3M"}}}, {"action", {{"type", "Rotate"}}}},
                        {{"trigger", {{"timeBeforeExpiry", "P15D"}}}, {"action", {{"type", "Notify"}}}}}},
                      {"attributes", {{"expiryTime", "P1Y"}}}});
  EXPECT_EQ(value_of(vault_->describe_rotation_policy("kek")), (RotationPolicyText{"P3M", "", "P1Y"}));
  succeed(vault_->set_rotation_policy("kek", std::nullopt));
  const auto left = world_.azure().ask({{"do", "state"}})["policies"]["kek"];
  ASSERT_EQ(left["lifetimeActions"].size(), 1U);
  EXPECT_EQ(left["lifetimeActions"][0]["trigger"]["timeBeforeExpiry"], "P15D");
}

// The service runs its policies itself; a refresh sees what came of it.
TEST_F(AzureServerRotation, VersionsThatThePolicyMakesAreSeen) {
  world_.create("kek");
  succeed(vault_->set_rotation_policy("kek", RotationPolicy{.after_create_days = 30, .expiry_days = 90}));
  world_.pass(29 * 86400);
  EXPECT_EQ(value_of(vault_->list_versions("kek")).size(), 1U);
  world_.pass(86400);
  const auto versions = value_of(vault_->list_versions("kek"));
  ASSERT_EQ(versions.size(), 2U);
  EXPECT_EQ(versions[1].expires, world_.now() + 90 * 86400);
  // One that is made by hand gets the policy's expiry as well.
  world_.pass(1);
  EXPECT_EQ(value_of(vault_->rotate_key("kek", {}, true)).expires, world_.now() + 90 * 86400);
}

TEST_F(AzureServerRotation, ARefusalAndAnAnswerThatDiffersAreNoSuccess) {
  world_.create("kek");
  const RotationPolicy monthly{.after_create_days = 30};
  world_.azure().ask({{"do", "deny"}, {"on", true}});
  EXPECT_TRUE(fails(vault_->set_rotation_policy("kek", monthly), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(fails(vault_->describe_rotation_policy("kek"), ErrorCode::KeyVaultDenied));
  world_.azure().ask({{"do", "deny"}, {"on", false}});
  world_.azure().fault({{"kind", "status"},
                        {"status", 200},
                        {"path", "rotationpolicy"},
                        {"body", {{"lifetimeActions", nlohmann::json::array()}, {"attributes", nullptr}}}});
  EXPECT_TRUE(fails(vault_->set_rotation_policy("kek", monthly), ErrorCode::KeyVaultUnavailable, "did not"));
  world_.azure().heal();
}

}  // namespace
}  // namespace vaultfs
