#include <gtest/gtest.h>

#include <string>

#include "crypto/keyvault/kmip/kmip_key_vault.h"
#include "crypto/keyvault/kmip/options.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

ProviderOptions good() {
  return {{"address", "kms.example:5697"},
          {"ca-file", "/etc/kmip/ca.pem"},
          {"client-cert-file", "/etc/kmip/client.pem"},
          {"client-key-file", "/etc/kmip/client.key"}};
}

ProviderOptions kmip_with(const std::string& name, const std::string& value) {
  ProviderOptions options = good();
  options[name] = value;
  return options;
}

ProviderOptions kmip_without(const std::string& name) {
  ProviderOptions options = good();
  options.erase(name);
  return options;
}

TEST(KmipOptions, AreRead) {
  const KmipSettings settings = value_of(kmip_settings(good(), {}));
  EXPECT_EQ(settings.host, "kms.example");
  EXPECT_EQ(settings.port, 5697);
  EXPECT_EQ(settings.server_name, "kms.example");
  EXPECT_EQ(settings.ca_file, "/etc/kmip/ca.pem");
  EXPECT_EQ(settings.client_cert_file, "/etc/kmip/client.pem");
  EXPECT_EQ(settings.client_key_file, "/etc/kmip/client.key");
  EXPECT_EQ(settings.timeout, std::chrono::seconds(30));
  EXPECT_EQ(settings.location(), "kmip://kms.example:5697");

  ProviderOptions more = kmip_with("address", "[::1]");
  more["timeout"] = "7";
  more["server-name"] = "other.example";
  const KmipSettings others = value_of(kmip_settings(more, {}));
  EXPECT_EQ(others.host, "::1");
  EXPECT_EQ(others.port, 5696);
  EXPECT_EQ(others.location(), "kmip://[::1]:5696");
  EXPECT_EQ(others.timeout, std::chrono::seconds(7));
  EXPECT_EQ(others.server_name, "other.example");
}

TEST(KmipOptions, AddressesOfAllFormsAreTaken) {
  for (const char* address : {"localhost", "127.0.0.1:1", "h_1.example:65535", "[2001:db8::1]:5696"}) {
    succeed(check_kmip_options(kmip_with("address", address)));
  }
  for (const char* address : {"", ":5696", "host:", "host:0", "host:65536", "host:05696", "host:+1", "host:1:2", "a b",
                              "[::1", "[::1]5696", "[host]:1", "::1", "-h", "kmip://host", "host/x", "user@host"}) {
    EXPECT_TRUE(fails(check_kmip_options(kmip_with("address", address)), ErrorCode::InvalidArgument, "address"))
        << address;
  }
}

TEST(KmipOptions, WrongOnesAreNamedWithTheKnown) {
  EXPECT_TRUE(fails(check_kmip_options(kmip_with("pin-file", "/x")), ErrorCode::InvalidArgument, "pin-file"));
  EXPECT_TRUE(
      fails(check_kmip_options(kmip_with("pin-file", "/x")), ErrorCode::InvalidArgument, "client-key-file=PATH"));
  EXPECT_TRUE(fails(check_kmip_options(kmip_without("address")), ErrorCode::InvalidArgument, "address"));
  EXPECT_TRUE(fails(check_kmip_options(kmip_without("ca-file")), ErrorCode::InvalidArgument, "ca-file"));
  EXPECT_TRUE(fails(check_kmip_options(kmip_with("ca-file", "ca.pem")), ErrorCode::InvalidArgument, "absolute"));
  EXPECT_TRUE(
      fails(check_kmip_options(kmip_with("client-key-file", "")), ErrorCode::InvalidArgument, "client-key-file"));
  EXPECT_TRUE(fails(check_kmip_options(kmip_with("server-name", "a/b")), ErrorCode::InvalidArgument, "server-name"));
  for (const char* timeout : {"", "0", "301", "-1", "1.5", "10s", "99999999999999999999"}) {
    EXPECT_TRUE(fails(check_kmip_options(kmip_with("timeout", timeout)), ErrorCode::InvalidArgument, "timeout"))
        << timeout;
  }
}

TEST(KmipOptions, TheClientMayComeWithAnIdentity) {
  EXPECT_TRUE(
      fails(check_kmip_options(kmip_without("client-cert-file")), ErrorCode::InvalidArgument, "client-cert-file"));
  EXPECT_TRUE(
      fails(check_kmip_options(kmip_without("client-key-file")), ErrorCode::InvalidArgument, "client-key-file"));
  const ProviderOptions server{{"address", "kms.example"}, {"ca-file", "/ca.pem"}};
  succeed(check_kmip_options(server));
  EXPECT_TRUE(fails(kmip_settings(server, {"backup", {}}), ErrorCode::InvalidArgument, "identity backup"));
  ProviderIdentity identity{"backup", {{"client-cert-file", "/b.pem"}, {"client-key-file", "/b.key"}}};
  EXPECT_EQ(value_of(kmip_settings(server, identity)).client_cert_file, "/b.pem");
  EXPECT_EQ(value_of(kmip_settings(good(), identity)).client_key_file, "/b.key");
  identity.options.erase("client-key-file");
  EXPECT_TRUE(fails(kmip_settings(good(), identity), ErrorCode::InvalidArgument, "client-key-file"));
}

// Neither a file nor a network is touched: the simulated machine has neither.
TEST(KmipOptions, OpeningAsksNothing) {
  SimEnv env;
  const auto vault = value_of(open_kmip_key_vault({env, "/kv", "hsm", good(), {}}));
  EXPECT_EQ(vault->name(), "hsm");
  const KeyVaultProperties properties = value_of(vault->properties());
  EXPECT_EQ(properties.provider, "kmip");
  EXPECT_EQ(properties.location, "kmip://kms.example:5697");
  EXPECT_FALSE(properties.soft_delete.has_value());
  EXPECT_TRUE(fails(vault->list_versions("a/b"), ErrorCode::InvalidName));
  EXPECT_TRUE(fails(vault->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "/etc/kmip/ca.pem"));
  EXPECT_TRUE(fails(open_kmip_key_vault({env, "/kv", "hsm", {}, {}}), ErrorCode::InvalidArgument, "address"));
}

}  // namespace
}  // namespace vaultfs
