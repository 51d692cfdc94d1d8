#include <gtest/gtest.h>

#include <algorithm>

#include "crypto/keyvault/azure/login.h"
#include "tests/crypto/keyvault/azure/azure_fixture.h"

namespace vaultfs {
namespace {

class AzureServerLogin : public ::testing::Test {
 protected:
  AzureServerLogin() { world_.create("kek"); }

  int tokens() { return world_.azure().ask({{"do", "state"}})["tokens"].get<int>(); }
  Result<std::vector<KeyVersionInfo>> list(AdministeredKeyVault& vault) { return vault.list_versions("kek"); }
  Result<std::vector<KeyVersionInfo>> list(const ProviderOptions& more, const ProviderIdentity& identity = {}) {
    return world_.open(world_.options(more), identity)->list_versions("kek");
  }

  AzureWorld world_;
};

TEST_F(AzureServerLogin, ATokenIsKeptUntilNearItsEnd) {
  const auto vault = world_.open();
  EXPECT_TRUE(list(*vault).ok());
  EXPECT_TRUE(list(*vault).ok());
  EXPECT_EQ(tokens(), 1);
  world_.pass(3200);
  EXPECT_TRUE(list(*vault).ok());
  EXPECT_EQ(tokens(), 1);
  world_.pass(150);
  EXPECT_TRUE(list(*vault).ok());
  EXPECT_EQ(tokens(), 2);
  world_.azure().requests();
}

TEST_F(AzureServerLogin, ATokenThatIsNoLongerTakenIsRenewedOnce) {
  const auto vault = world_.open();
  EXPECT_TRUE(list(*vault).ok());
  world_.azure().ask({{"do", "tokens"}, {"forget", true}});
  EXPECT_TRUE(list(*vault).ok());
  EXPECT_EQ(tokens(), 2);
  // New tokens are for somebody else: two tries, then the refusal.
  world_.azure().ask({{"do", "tokens"}, {"forget", true}, {"audience", "https://management.azure.com"}});
  const auto refused = list(*vault);
  EXPECT_TRUE(fails(refused, ErrorCode::KeyVaultDenied, "does not take the identity's token"));
  EXPECT_EQ(tokens(), 3);
  EXPECT_EQ(refused.error().message.find("eyJ0"), std::string::npos);
}

TEST_F(AzureServerLogin, ManagedIdentitiesAreSelected) {
  const ProviderIdentity user{"backup", {{"client-id", "1234"}}};
  EXPECT_TRUE(fails(list({}, user), ErrorCode::IdentityNotFound, "Identity not found"));
  world_.azure().ask({{"do", "identity"}, {"present", false}, {"selector", {{"client_id", "1234"}}}});
  EXPECT_TRUE(list({}, user).ok());
  EXPECT_TRUE(fails(list({}), ErrorCode::IdentityNotFound));
  world_.azure().ask({{"do", "identity"}, {"selector", {{"msi_res_id", "/subscriptions/1/id"}}}});
  EXPECT_TRUE(list({}, {"backup", {{"resource-id", "/subscriptions/1/id"}}}).ok());
  EXPECT_TRUE(list({}).ok());
  const auto requests = world_.azure().requests();
  EXPECT_TRUE(std::ranges::any_of(requests, [](const std::string& request) {
    return request.find("resource=https%3A%2F%2Fvault.localhost&client_id=1234") != std::string::npos;
  }));
}

TEST_F(AzureServerLogin, TheMetadataServiceIsAskedAgainAsItWants) {
  world_.azure().fault({{"kind", "status"}, {"status", 404}, {"path", "/metadata/"}, {"times", 3}});
  EXPECT_TRUE(list({}).ok());
  ASSERT_EQ(world_.machine().pauses().size(), 3U);
  EXPECT_EQ(world_.machine().pauses()[0].count(), 0);
  EXPECT_NEAR(static_cast<double>(world_.machine().pauses()[2].count()), 6000, 1200);
  world_.machine().pauses().clear();
  world_.azure().fault({{"kind", "status"}, {"status", 500}, {"path", "/metadata/"}});
  EXPECT_TRUE(fails(list({}), ErrorCode::KeyVaultUnavailable, "metadata service"));
  world_.azure().fault({{"kind", "status"}, {"status", 403}, {"path", "/metadata/"}, {"body", "<html>"}});
  EXPECT_TRUE(fails(list({}), ErrorCode::KeyVaultUnavailable, "metadata service"));
  world_.azure().fault({{"kind", "malformed"}, {"path", "/metadata/"}});
  EXPECT_TRUE(fails(list({}), ErrorCode::KeyVaultUnavailable));
}

TEST_F(AzureServerLogin, OnlyARefusalOfTheClientIsADenial) {
  const ProviderOptions login{
      {"auth", "client-secret"}, {"client-id", kAzureClient}, {"secret-file", "/secret"}, {"tenant", kAzureTenant}};
  world_.machine().write_secret("/secret", "the-secret-of-the-application");
  const auto answered = [&](int status, const char* code, int number) {
    const nlohmann::json body{{"error", code}, {"error_description", "text"}, {"error_codes", {number}}};
    world_.azure().fault({{"kind", "status"}, {"status", status}, {"body", body}, {"path", "/oauth2/v2.0/token"}});
    const auto listed = list(login);
    world_.azure().heal();
    return listed;
  };
  for (const int status : {400, 401, 403}) {
    for (const char* const code : {"temporarily_unavailable", "server_error", "invalid_request", "Unavailable"}) {
      EXPECT_TRUE(fails(answered(status, code, 90033), ErrorCode::KeyVaultUnavailable, code)) << status;
    }
    for (const char* const code :
         {"invalid_client", "unauthorized_client", "invalid_grant", "access_denied", "invalid_resource"}) {
      EXPECT_TRUE(fails(answered(status, code, 7000215), ErrorCode::KeyVaultDenied, code)) << status;
    }
  }
  // This machine's clock, not its right.
  EXPECT_TRUE(fails(answered(401, "invalid_client", 700024), ErrorCode::KeyVaultUnavailable, "clock"));
  // The resource is missing in the tenant: the wrong tenant, no disabled identity.
  EXPECT_TRUE(fails(answered(400, "invalid_resource", 500011), ErrorCode::KeyVaultDenied, "AADSTS500011"));
  EXPECT_TRUE(fails(answered(400, "unauthorized_client", 7000112), ErrorCode::IdentityDisabled));
}

TEST_F(AzureServerLogin, ApplicationsLogInWithASecret) {
  const ProviderOptions login{
      {"auth", "client-secret"}, {"client-id", kAzureClient}, {"secret-file", "/secret"}, {"tenant", kAzureTenant}};
  world_.azure().ask({{"do", "application"}, {"secret", "s3cret+/=&~value"}});
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "secret-file"));
  world_.machine().write_secret("/secret", "s3cret+/=&~value\n");
  EXPECT_TRUE(list(login).ok());
  // The tenant is named by the key vault too.
  ProviderOptions without = login;
  without.erase("tenant");
  EXPECT_TRUE(list(without).ok());
  // As a user-assigned identity of this machine.
  EXPECT_TRUE(list({}, {"backup", {{"client-id", kAzureClient}, {"secret-file", "/secret"}}}).ok());

  world_.machine().write_secret("/secret", "wrong-secret-value");
  const auto wrong = list(login);
  EXPECT_TRUE(fails(wrong, ErrorCode::KeyVaultDenied, "AADSTS7000215"));
  EXPECT_EQ(wrong.error().message.find("wrong-secret"), std::string::npos) << wrong.error().message;
  world_.machine().write_secret("/secret", "s3cret+/=&~value");
  world_.azure().ask({{"do", "application"}, {"disabled", true}});
  EXPECT_TRUE(fails(list(login), ErrorCode::IdentityDisabled, "disabled"));
  world_.azure().ask({{"do", "application"}, {"disabled", false}});
  ProviderOptions stranger = login;
  stranger["client-id"] = "99999999-0000-0000-0000-000000000000";
  EXPECT_TRUE(fails(list(stranger), ErrorCode::IdentityNotFound));
  world_.azure().requests();
}

TEST_F(AzureServerLogin, ApplicationsLogInWithACertificate) {
  const ProviderOptions login{
      {"auth", "client-certificate"}, {"client-id", kAzureClient}, {"certificate-file", "/app.pem"}};
  world_.machine().copy_file(world_.azure().file("app.pem"), "/app.pem");
  EXPECT_TRUE(list(login).ok());
  EXPECT_TRUE(list(login).ok());  // no assertion is used twice
  world_.azure().requests();
  // EC, another's, and none at all.
  world_.machine().copy_file(world_.azure().file("server.pem"), "/app.pem");
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "RSA"));
  world_.machine().copy_file(world_.azure().file("ca.pem"), "/app.pem");
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "certificate-file"));
  RestDouble other("azure");
  world_.machine().copy_file(other.file("app.pem"), "/app.pem");
  EXPECT_FALSE(list(login).ok());
}

TEST_F(AzureServerLogin, ACertificateWantsItsOwnKey) {
  const auto part = [](RestDouble& of, const char* begin, const char* end) {
    const Bytes file = value_of(read_file(posix_env(), of.file("app.pem"), 1 << 20));
    const std::string text(text_of(file));
    const std::size_t from = text.find(std::string("-----BEGIN ") + begin);
    return text.substr(from, text.find(end, from) - from) + end + "\n";
  };
  RestDouble other("azure");
  const std::string certificate = part(world_.azure(), "CERTIFICATE", "-----END CERTIFICATE-----");
  const std::string stranger = part(other, "PRIVATE KEY", "-----END PRIVATE KEY-----");
  ASSERT_NE(certificate.find("BEGIN"), std::string::npos);
  ASSERT_NE(stranger.find("BEGIN"), std::string::npos);
  world_.machine().write_secret("/app.pem", certificate + stranger);
  EXPECT_TRUE(
      fails(list({{"auth", "client-certificate"}, {"client-id", kAzureClient}, {"certificate-file", "/app.pem"}}),
            ErrorCode::KeyVaultUnavailable, "not the certificate's"));
}

// A key vault that moved to another cloud: the token of before is good for somebody else.
TEST_F(AzureServerLogin, ATokenIsForTheAudienceThatItWasMadeFor) {
  class Tokens final : public HttpTransport {
   public:
    Result<std::unique_ptr<HttpSession>> open_session() override {
      class VaultEngine final : public HttpSession {
       public:
        explicit VaultEngine(int& given) : given_(given) {}
        Result<HttpAnswer> exchange(const HttpRequest&, std::chrono::milliseconds) override {
          HttpAnswer answer;
          answer.status = 200;
          answer.body.append(R"({"access_token":"token-)").append(std::to_string(++given_));
          answer.body.append(R"(","token_type":"Bearer","expires_in":3600})");
          return answer;
        }

       private:
        int& given_;
      };
      return std::unique_ptr<HttpSession>(std::make_unique<VaultEngine>(given_));
    }

   private:
    int given_ = 0;
  };
  Env& env = world_.machine().env();
  const AzureOptions options = value_of(AzureOptions::parse(world_.options(), {}));
  const HttpMeans means = world_.machine().means(std::make_shared<Tokens>());
  AzureLogin login(env, options);
  const auto token = [&](const std::string& audience) {
    HttpCall call(env, means, std::chrono::seconds(10));
    const auto given = value_of(login.token(call, AzureChallenge{"login.windows.net", "tenant", audience}, nullptr));
    return std::string(text_of(given->view()));
  };
  EXPECT_EQ(token("https://vault.azure.net"), "token-1");
  EXPECT_EQ(token("https://vault.azure.net"), "token-1");
  EXPECT_EQ(token("https://vault.azure.cn"), "token-2");
  EXPECT_EQ(token("https://vault.azure.net"), "token-3");
}

TEST_F(AzureServerLogin, NobodyIsSentElsewhereForALogin) {
  const ProviderOptions login{{"auth", "client-secret"}, {"client-id", kAzureClient}, {"secret-file", "/secret"}};
  world_.machine().write_secret("/secret", "s3cret-value");
  world_.azure().ask({{"do", "application"}, {"secret", "s3cret-value"}});
  const auto challenge = [&](const std::string& authority, const std::string& resource) {
    world_.azure().ask(
        {{"do", "challenge"}, {"header", "Bearer authorization=\"" + authority + "\", resource=\"" + resource + "\""}});
  };
  const std::string tenant = std::string("/") + kAzureTenant;
  challenge("https://login.evil.example" + tenant, "https://vault.localhost");
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "login.evil.example"));
  challenge("https://login.microsoftonline.com" + tenant, "https://management.localhost");
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "management.localhost"));
  EXPECT_TRUE(fails(list({}), ErrorCode::KeyVaultUnavailable, "management.localhost"));
  challenge("http://login.microsoftonline.com" + tenant, "https://vault.localhost");
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "authority"));
  world_.azure().ask({{"do", "challenge"}, {"header", "Negotiate"}});
  EXPECT_TRUE(fails(list(login), ErrorCode::KeyVaultUnavailable, "bearer"));
  EXPECT_EQ(tokens(), 0);
  challenge("https://login.microsoftonline.com" + tenant, "https://vault.localhost/");
  EXPECT_TRUE(list(login).ok());
}

}  // namespace
}  // namespace vaultfs
