#include <gtest/gtest.h>

#include "crypto/keyvault/azure/azure_key_vault.h"
#include "crypto/keyvault/azure/options.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

const ProviderOptions kGood{{"address", "https://office.vault.azure.net"}};

ProviderOptions azure_with(ProviderOptions options, const ProviderOptions& more) {
  for (const auto& [name, value] : more) options[name] = value;
  return options;
}

TEST(AzureOptions, HaveSensibleDefaults) {
  const AzureOptions options = value_of(AzureOptions::parse(kGood, {}));
  EXPECT_EQ(options.auth, AzureAuth::managed_identity);
  EXPECT_EQ(options.selector, "");
  EXPECT_EQ(options.authority.to_string(), "https://login.microsoftonline.com");
  EXPECT_EQ(options.metadata.to_string(), "http://169.254.169.254");
  EXPECT_EQ(options.timeout, std::chrono::seconds(30));
}

TEST(AzureOptions, APrivateAuthorityVouchesForTheOwnersServersOnly) {
  const auto servers = [](const ProviderOptions& more) {
    return value_of(AzureOptions::parse(azure_with(kGood, more), {})).tls.authorities_for;
  };
  const std::string key_vault = "https://office.vault.azure.net";
  EXPECT_EQ(servers({{"ca-file", "/ca.pem"}}), std::vector<std::string>{key_vault});
  EXPECT_EQ(servers({{"ca-file", "/ca.pem"}, {"authority-address", "https://login.example:8443"}}),
            (std::vector<std::string>{key_vault, "https://login.example:8443"}));
}

TEST(AzureOptions, AreRefusedByName) {
  const auto refused = [](const ProviderOptions& more, std::string_view part) {
    return fails(check_azure_options(azure_with(kGood, more)), ErrorCode::InvalidArgument, part);
  };
  EXPECT_TRUE(fails(check_azure_options({}), ErrorCode::InvalidArgument, "address"));
  EXPECT_TRUE(refused({{"color", "red"}}, "known ones: address, auth"));
  EXPECT_TRUE(refused({{"address", "http://office.vault.azure.net"}}, "plain http"));
  EXPECT_TRUE(refused({{"address", "https://office.vault.azure.net/keys/kek"}}, "without a path"));
  EXPECT_TRUE(refused({{"auth", "password"}}, "client-secret or client-certificate"));
  EXPECT_TRUE(refused({{"auth", "client-secret"}}, "client-id"));
  EXPECT_TRUE(refused({{"auth", "client-secret"}, {"client-id", "c"}}, "secret-file"));
  EXPECT_TRUE(refused({{"auth", "client-certificate"}, {"client-id", "c"}, {"secret-file", "/s"}}, "secret-file"));
  EXPECT_TRUE(refused({{"auth", "managed-identity"}, {"secret-file", "/s"}}, "secret-file"));
  EXPECT_TRUE(refused({{"client-id", "c"}}, "identity create"));
  EXPECT_TRUE(refused({{"tenant", "a/b"}, {"auth", "client-secret"}}, "tenant"));
  EXPECT_TRUE(refused({{"tenant", ".."}}, "tenant"));
  EXPECT_TRUE(refused({{"imds-address", "http://127.0.0.1:40342"}}, "allow-http=loopback"));
  EXPECT_TRUE(refused({{"imds-address", "http://10.0.0.1"}, {"allow-http", "loopback"}}, "plain http"));
  EXPECT_TRUE(refused({{"authority-address", "http://login.example"}}, "authority-address"));
  EXPECT_TRUE(refused({{"region", std::string(65, 'r')}}, "region"));
  EXPECT_TRUE(refused({{"timeout", "0"}}, "timeout"));
  EXPECT_TRUE(refused({{"ca-file", "ca.pem"}}, "ca-file: ca.pem is no absolute path"));
  EXPECT_TRUE(refused({{"auth", "client-secret"}, {"client-id", "c"}, {"secret-file", "s"}}, "no absolute path"));
  EXPECT_TRUE(
      refused({{"auth", "client-certificate"}, {"client-id", "c"}, {"certificate-file", "./c"}}, "no absolute path"));
  succeed(
      check_azure_options(azure_with(kGood, {{"auth", "client-secret"}, {"client-id", "c"}, {"secret-file", "/s"}})));
}

TEST(AzureOptions, AnIdentityGoesBeforeTheKeyVault) {
  const auto parse = [](const ProviderOptions& key_vault, const ProviderOptions& identity) {
    return AzureOptions::parse(azure_with(kGood, key_vault), {"backup", identity});
  };
  const AzureOptions selected = value_of(parse({}, {{"resource-id", "/subscriptions/1/rg(x)/id"}}));
  EXPECT_EQ(selected.selector, "msi_res_id");
  EXPECT_EQ(selected.selector_value, "/subscriptions/1/rg(x)/id");
  const AzureOptions secret = value_of(parse({{"tenant", "contoso"}}, {{"client-id", "c"}, {"secret-file", "/s"}}));
  EXPECT_EQ(secret.auth, AzureAuth::client_secret);
  EXPECT_EQ(secret.tenant, "contoso");
  const AzureOptions certificate =
      value_of(parse({{"auth", "client-secret"}, {"client-id", "k"}, {"secret-file", "/s"}},
                     {{"client-id", "c"}, {"certificate-file", "/c"}, {"tenant", "other"}}));
  EXPECT_EQ(certificate.auth, AzureAuth::client_certificate);
  EXPECT_EQ(certificate.client_id, "c");
  EXPECT_EQ(certificate.secret_file, "");
  EXPECT_TRUE(fails(parse({}, {{"client-id", "a"}, {"object-id", "b"}}), ErrorCode::InvalidArgument, "object-id"));
  EXPECT_TRUE(fails(parse({}, {{"client-id", "a&b=c"}}), ErrorCode::InvalidArgument, "client-id"));
  EXPECT_TRUE(fails(parse({}, {{"client-id", "c"}, {"secret-file", "s"}}), ErrorCode::InvalidArgument, "secret-file"));
  // Options for other providers are not this one's business.
  EXPECT_EQ(value_of(parse({}, {{"token-file", "/t"}, {"address", "https://evil.example"}})).address.host,
            "office.vault.azure.net");
}

}  // namespace
}  // namespace vaultfs
