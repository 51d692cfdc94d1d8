#include <gtest/gtest.h>

#include "crypto/keyvault/azure/answers.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

const HttpUrl& office() {
  static const HttpUrl url = value_of(HttpUrl::parse("https://office.vault.azure.net", "url", PlainHttp::never));
  return url;
}

TEST(AzureChallenge, IsReadInItsDocumentedForms) {
  const AzureChallenge expected{"login.windows.net", "72f988bf", "https://vault.azure.net"};
  for (const char* const header :
       {R"(Bearer authorization="https://login.windows.net/72f988bf", resource="https://vault.azure.net")",
        R"(bearer authorization_uri="https://login.windows.net/72f988bf/", scope="https://vault.azure.net/.default")",
        R"(Bearer authorization="https://login.windows.net/72f988bf" resource="https://vault.azure.net/")",
        R"(Bearer resource=https://vault.azure.net,authorization=https://login.windows.net/72f988bf)"}) {
    EXPECT_EQ(value_of(parse_azure_challenge(header, office())), expected) << header;
  }
}

TEST(AzureChallenge, AsksForNoTokenForSomebodyElse) {
  const auto challenge = [](const std::string& resource) {
    return parse_azure_challenge("Bearer authorization=\"https://login.windows.net/t\", resource=\"" + resource + "\"",
                                 office());
  };
  EXPECT_TRUE(challenge("https://azure.net").ok());
  for (const char* const resource :
       {"https://ault.azure.net", "https://office.vault.azure.net", "https://management.azure.com", "https://net.",
        "http://vault.azure.net", "vault.azure.net", "https://vault.azure.net/secrets", "https://vault.azure.net@evil",
        ""}) {
    EXPECT_TRUE(fails(challenge(resource), ErrorCode::KeyVaultUnavailable)) << resource;
  }
  for (const char* const header :
       {"", "Basic realm=\"x\"", "Bearer", "Bearer resource=\"https://vault.azure.net\"",
        "Bearer authorization=\"http://login.windows.net/t\", resource=\"https://vault.azure.net\""}) {
    EXPECT_TRUE(fails(parse_azure_challenge(header, office()), ErrorCode::KeyVaultUnavailable)) << header;
  }
  const HttpUrl evil = value_of(HttpUrl::parse("https://evilvault.azure.net", "url", PlainHttp::never));
  EXPECT_TRUE(
      fails(parse_azure_challenge(
                R"(Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net")", evil),
            ErrorCode::KeyVaultUnavailable, "vault.azure.net"));
}

TEST(AzureKeyIds, BelongToTheKeyVaultThatWasAsked) {
  const std::string version(32, 'A');
  const auto id = parse_azure_key_id("https://OFFICE.vault.azure.net:443/keys/kek/" + version, office());
  ASSERT_TRUE(id);
  EXPECT_EQ(id->name, "kek");
  EXPECT_EQ(id->version, std::string(32, 'a'));
  EXPECT_TRUE(parse_azure_key_id("https://office.vault.azure.net/keys/kek", office()));
  for (const char* const kid :
       {"https://other.vault.azure.net/keys/kek", "http://office.vault.azure.net/keys/kek",
        "https://office.vault.azure.net/secrets/kek", "https://office.vault.azure.net/keys",
        "https://office.vault.azure.net/keys/k_k", "https://office.vault.azure.net:444/keys/kek",
        "https://office.vault.azure.net/keys/kek/1", "https://office.vault.azure.net/keys/kek/1/2"}) {
    EXPECT_FALSE(parse_azure_key_id(kid, office())) << kid;
  }
}

// Of a wrap under another version nobody knows what it needs; what another version opened was not asked for.
TEST(AzureValues, AreOfTheVersionThatWasAsked) {
  const std::string version(32, 'a');
  const auto answered = [&](const std::string& name, const std::string& by) {
    return parse_azure_value(
        R"({"kid":"https://office.vault.azure.net/keys/)" + name + "/" + by + R"(","value":"QUJD"})", office(), "kek",
        version);
  };
  EXPECT_EQ(text_of(value_of(answered("kek", version)).view()), "ABC");
  EXPECT_EQ(text_of(value_of(answered("KEK", std::string(32, 'A'))).view()), "ABC");
  EXPECT_TRUE(fails(answered("kek", std::string(32, 'b')), ErrorCode::KeyVaultUnavailable, "another key version"));
  EXPECT_TRUE(fails(answered("other", version), ErrorCode::KeyVaultUnavailable, "another key version"));
}

TEST(AzureErrors, AreReadInAllTheirForms) {
  for (const char* const inner : {"innererror", "innerError", "InnerError"}) {
    const auto error = parse_azure_error(R"({"error":{"code":"Forbidden","message":"m",")" + std::string(inner) +
                                         R"(":{"code":"KeyDisabled"}}})");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, "Forbidden");
    EXPECT_EQ(error->inner_code, "KeyDisabled");
  }
  const auto nested =
      parse_azure_error(R"({"Error":{"Code":"A","innererror":{"code":"B","innererror":{"code":"C"}}}})");
  ASSERT_TRUE(nested);
  EXPECT_EQ(nested->inner_code, "C");
  const char* const by_login = R"({"error":"invalid_client","error_description":"d","error_codes":[7000215]})";
  const auto login = parse_azure_login_error(by_login);
  ASSERT_TRUE(login);
  EXPECT_EQ(login->code, "invalid_client");
  EXPECT_EQ(login->message, "d");
  EXPECT_EQ(login->numbers, std::vector<std::int64_t>{7000215});
  for (const char* const body :
       {"", "<html>", "[]", "{}", R"({"error":7})", R"({"error":{"message":"m"}})", R"({"error":{"code":null}})"}) {
    EXPECT_FALSE(parse_azure_error(body)) << body;
    EXPECT_FALSE(parse_azure_login_error(body)) << body;
  }
}

// Each service's form is its own: many a gateway without a backend says {"error":"Not Found"}.
TEST(AzureErrors, OfOneServiceAreNotTheOthers) {
  EXPECT_FALSE(parse_azure_error(R"({"timestamp":1,"status":404,"error":"Not Found","path":"/keys/k"})"));
  EXPECT_FALSE(parse_azure_error(R"({"error":"invalid_client","error_description":"d"})"));
  EXPECT_FALSE(parse_azure_login_error(R"({"error":{"code":"Forbidden","message":"m"}})"));
}

TEST(AzureTokens, ComeWithNumbersAsNumbersOrTexts) {
  for (const char* const lifetime : {"3599", "\"3599\""}) {
    const AzureToken token = value_of(parse_azure_token(R"({"access_token":"abc","token_type":"Bearer","expires_in":)" +
                                                        std::string(lifetime) + "}"));
    EXPECT_EQ(text_of(token.text), "abc");
    EXPECT_EQ(token.lifetime_seconds, 3599);
  }
  for (const char* const body : {R"({"access_token":"abc","token_type":"Bearer"})",
                                 R"({"access_token":"","token_type":"Bearer","expires_in":1})",
                                 R"({"access_token":"a\r\nb","token_type":"Bearer","expires_in":1})",
                                 R"({"access_token":"abc","token_type":"mac","expires_in":1})",
                                 R"({"access_token":"abc","token_type":"Bearer","expires_in":"soon"})",
                                 R"({"access_token":"abc","token_type":"Bearer","expires_in":0})"}) {
    EXPECT_TRUE(fails(parse_azure_token(body), ErrorCode::KeyVaultUnavailable)) << body;
  }
}

TEST(AzurePages, GoOnOnTheSameHostOnly) {
  const auto page = [](const std::string& next) {
    return parse_azure_page(R"({"value":[],"nextLink":")" + next + "\"}", office());
  };
  const AzurePage good =
      value_of(page("https://office.vault.azure.net:443/keys/kek/versions?api-version=2016-10-01&$skiptoken=x"));
  ASSERT_TRUE(good.next);
  EXPECT_EQ(good.next->to_string(),
            "https://office.vault.azure.net/keys/kek/versions?api-version=2016-10-01&$skiptoken=x");
  EXPECT_FALSE(value_of(page("")).next);
  EXPECT_FALSE(value_of(parse_azure_page(R"({"value":null,"nextLink":null})", office())).next);
  for (const char* const next :
       {"https://evil.example/keys", "https://office.vault.azure.net:8443/keys", "http://office.vault.azure.net/keys",
        "/keys?$skiptoken=x", "https://office.vault.azure.net/secrets?$skiptoken=x",
        "https://office.vault.azure.net@evil.example/keys"}) {
    EXPECT_TRUE(fails(page(next), ErrorCode::KeyVaultUnavailable)) << next;
  }
}

TEST(AzureRecovery, LevelsSayWhatIsProtected) {
  AzureAttributes attributes;
  EXPECT_EQ(attributes.soft_delete(), std::nullopt);
  struct Case {
    const char* level;
    bool soft_delete, purge_protection;
  };
  for (const Case& expected :
       {Case{"Purgeable", false, false}, Case{"Recoverable+Purgeable", true, false}, Case{"Recoverable", true, true},
        Case{"Recoverable+ProtectedSubscription", true, true}, Case{"CustomizedRecoverable+Purgeable", true, false},
        Case{"CustomizedRecoverable", true, true}}) {
    attributes.recovery_level = expected.level;
    EXPECT_EQ(attributes.soft_delete(), expected.soft_delete) << expected.level;
    EXPECT_EQ(attributes.purge_protection(), expected.purge_protection) << expected.level;
  }
}

}  // namespace
}  // namespace vaultfs
