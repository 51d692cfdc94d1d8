#include <gtest/gtest.h>

#include "crypto/keyvault/transit/options.h"
#include "crypto/keyvault/transit/transit_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

const ProviderOptions kGoodTransit{{"address", "https://bao.example:8200"}, {"token-file", "/token"}};

ProviderOptions transit_with(ProviderOptions options, const std::string& name, const std::string& value) {
  options[name] = value;
  return options;
}

TEST(TransitOptions, HaveSensibleDefaults) {
  const TransitOptions options = value_of(TransitOptions::parse(kGoodTransit));
  EXPECT_EQ(options.mount, "transit");
  EXPECT_EQ(options.timeout, std::chrono::seconds(30));
  EXPECT_EQ(options.name_space, "");
  succeed(check_transit_options(kGoodTransit));
}

TEST(TransitOptions, AreRefusedByName) {
  const auto refused = [](const ProviderOptions& options, std::string_view part) {
    return fails(check_transit_options(options), ErrorCode::InvalidArgument, part);
  };
  EXPECT_TRUE(refused({}, "address"));
  EXPECT_TRUE(refused({{"address", "https://bao.example"}}, "token-file"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "color", "red"), "known ones: address, mount"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "mount", ""), "mount"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "address", "http://bao.example"), "plain http"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "address", "http://127.0.0.1:8200"), "allow-http=loopback"));
  succeed(check_transit_options(
      transit_with(transit_with(kGoodTransit, "address", "http://127.0.0.1:8200"), "allow-http", "loopback")));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "address", "https://bao.example/v1"), "without a path"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "allow-http", "always"), "allow-http"));
  for (const char* const mount : {"/transit", "transit/", "a//b", "a/../b", "a b", "a?b"}) {
    EXPECT_TRUE(refused(transit_with(kGoodTransit, "mount", mount), "mount")) << mount;
    EXPECT_TRUE(refused(transit_with(kGoodTransit, "namespace", mount), "namespace")) << mount;
  }
  for (const char* const timeout : {"0", "-1", "601", "soon", "3s", ""}) {
    EXPECT_TRUE(refused(transit_with(kGoodTransit, "timeout", timeout), "timeout")) << timeout;
  }
  for (const char* const file : {"token-file", "secret-id-file", "ca-file", "client-cert-file", "client-key-file"}) {
    EXPECT_TRUE(refused(transit_with(kGoodTransit, file, "in/the/callers/directory"), "no absolute path")) << file;
  }
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "role-id", "r"), "either token-file"));
  EXPECT_TRUE(refused({{"address", "https://b"}, {"role-id", "r"}}, "secret-id-file"));
  EXPECT_TRUE(refused({{"address", "https://b"}, {"role-id", "a b"}, {"secret-id-file", "/s"}}, "role-id"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "client-cert-file", "/c"), "client-key-file"));
  EXPECT_TRUE(refused(transit_with(kGoodTransit, "client-key-file", "/k"), "client-cert-file"));
}

TEST(TransitOptions, AnIdentityBringsItsOwnCredentials) {
  SimEnv env;
  ProviderContext context{env, "/kv", "bao", kGoodTransit, {"backup", {{"role-id", "r"}, {"secret-id-file", "/s"}}}};
  const TransitOptions options = value_of(TransitOptions::parse(transit_options_of(context)));
  EXPECT_EQ(options.role_id, "r");
  EXPECT_EQ(options.token_file, std::nullopt);
  // What belongs to other providers, or is not the identity's business, stays out.
  context.identity.options = {{"client-id", "azure"}, {"address", "https://evil.example"}};
  EXPECT_EQ(transit_options_of(context), kGoodTransit);
}

}  // namespace
}  // namespace vaultfs
