#include "crypto/keyvault/azure/azure_key_vault.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "crypto/memory/base64.h"
#include "tests/crypto/keyvault/azure/azure_fixture.h"
#include "tests/crypto/keyvault/freed_heap.h"

namespace vaultfs {
namespace {

constexpr std::string_view kContent = "a data encryption key, to be kept secret";
constexpr std::string_view kOaep = "RSA-OAEP-256";

class AzureServerTest : public ::testing::Test {
 protected:
  void vault_setting(nlohmann::json values) {
    values["do"] = "vault";
    world_.azure().ask(values);
  }
  Result<Bytes> wrap_during(nlohmann::json fault, const std::string& version) {
    world_.azure().fault(std::move(fault));
    auto result = vault_->wrap("kek", version, bytes_of(kContent));
    world_.azure().heal();
    return result;
  }

  AzureWorld world_;
  std::unique_ptr<AdministeredKeyVault> vault_ = world_.open();
};

TEST_F(AzureServerTest, KeysAreMadeRotatedAndListed) {
  EXPECT_TRUE(value_of(vault_->list_keys()).empty());
  const KeyOptions small{.bits = 2048, .not_before = {}, .expires = {}};
  const KeyVersionInfo first = value_of(vault_->create_key("kek", small));
  EXPECT_EQ(first.key_type, "RSA");
  EXPECT_EQ(first.bits, 2048U);
  EXPECT_EQ(first.created_unix_seconds, world_.now());
  EXPECT_TRUE(fails(vault_->create_key("kek", small), ErrorCode::KeyExists, "office"));
  EXPECT_TRUE(fails(vault_->create_key("other", {.bits = 1024, .not_before = {}, .expires = {}}),
                    ErrorCode::KeySizeUnsupported));
  EXPECT_TRUE(
      fails(vault_->create_key("other", {.bits = 2048, .not_before = 5, .expires = 5}), ErrorCode::InvalidArgument));
  world_.pass(1);
  const KeyVersionInfo second = value_of(vault_->rotate_key("kek", {}, true));
  EXPECT_EQ(second.bits, 2048U);
  world_.pass(1);
  const KeyVersionInfo dated =
      value_of(vault_->rotate_key("kek", {.bits = 0, .not_before = world_.now(), .expires = world_.now() + 90}, true));
  EXPECT_EQ(dated.expires, world_.now() + 90);
  EXPECT_EQ(dated.not_before, world_.now());
  std::vector<std::string> ids;
  for (const auto& version : value_of(vault_->list_versions("kek"))) ids.push_back(version.id);
  EXPECT_EQ(ids, (std::vector<std::string>{first.id, second.id, dated.id}));
  EXPECT_TRUE(fails(vault_->rotate_key("nosuch", {}, true), ErrorCode::KeyNotFound, "nosuch"));
  world_.azure().requests();
}

TEST_F(AzureServerTest, ListsOfManyPagesAreReadWholeAndWithoutAsksForWhatIsKnown) {
  vault_setting({{"page_size", 1}});
  std::vector<std::string> made;
  for (int i = 0; i < 3; ++i) made.push_back(world_.create("kek"));
  world_.create("another");
  world_.create("tls", {{"managed", true}});
  EXPECT_EQ(value_of(vault_->list_keys()), (std::vector<std::string>{"another", "kek"}));
  world_.azure().requests();
  for (const std::size_t expected : {3U + 3U, 3U}) {
    std::vector<std::string> ids;
    for (const auto& version : value_of(vault_->list_versions("kek"))) ids.push_back(version.id);
    EXPECT_EQ(ids, made);
    // The types are asked for once: no version ever changes its own.
    EXPECT_EQ(world_.azure().requests().size(), expected);
  }
}

// Servers whose every answer takes a while.
class SlowTransport final : public HttpTransport {
 public:
  SlowTransport(RestMachine& machine, std::int64_t seconds)
      : machine_(machine),
        seconds_(seconds),
        real_(make_curl_transport(machine.env(), HttpTlsFiles{"/ca.pem", {}, {}})) {}
  Result<std::unique_ptr<HttpSession>> open_session() override {
    VAULTFS_ASSIGN_OR_RETURN(auto session, real_->open_session());
    return std::unique_ptr<HttpSession>(std::make_unique<VaultEngine>(*this, std::move(session)));
  }

 private:
  class VaultEngine final : public HttpSession {
   public:
    VaultEngine(SlowTransport& transport, std::unique_ptr<HttpSession> real)
        : transport_(transport), real_(std::move(real)) {}
    Result<HttpAnswer> exchange(const HttpRequest& request, std::chrono::milliseconds timeout) override {
      transport_.machine_.env().sim_clock().advance_seconds(transport_.seconds_);
      return real_->exchange(request, timeout);
    }

   private:
    SlowTransport& transport_;
    std::unique_ptr<HttpSession> real_;
  };

  RestMachine& machine_;
  const std::int64_t seconds_;
  std::shared_ptr<HttpTransport> real_;
};

TEST_F(AzureServerTest, AListOfManyVersionsHasTimeForEachButNotForEver) {
  // Of curves, whose keys are made in no time: each version is asked for by itself all the same.
  const auto create = [&](int versions) {
    for (int i = 0; i < versions; ++i) world_.create("curve", {{"kty", "EC"}});
  };
  create(8);
  const auto list = [&](std::int64_t seconds) {
    const ProviderContext context{world_.machine().env(), "/keyvaults/office", "office", world_.options(), {}};
    const auto means = world_.machine().means(std::make_shared<SlowTransport>(world_.machine(), seconds));
    const auto versions = value_of(open_azure_key_vault(context, means))->list_versions("curve");
    world_.pass(0);  // the double's clock follows
    return versions;
  };
  EXPECT_EQ(value_of(list(10)).size(), 8U);  // in all longer than a single call's 30 s
  EXPECT_TRUE(fails(list(29 * 2), ErrorCode::KeyVaultUnavailable)) << "a request that takes too long by itself";
  create(30);
  EXPECT_TRUE(fails(list(10), ErrorCode::KeyVaultUnavailable)) << "five minutes are over";
}

TEST_F(AzureServerTest, KeysThatAreNoKekAreListedAndRefused) {
  const std::string curve = world_.create("curve", {{"kty", "EC"}});
  EXPECT_EQ(value_of(vault_->list_versions("curve"))[0].key_type, "EC");
  EXPECT_TRUE(fails(vault_->wrap("curve", curve, bytes_of("x")), ErrorCode::KeyNotRsa, "EC"));
  const std::string managed = world_.create("tls", {{"managed", true}});
  EXPECT_EQ(value_of(vault_->list_versions("tls"))[0].key_type, "RSA (of a certificate)");
  EXPECT_TRUE(value_of(vault_->list_versions("tls"))[0].of_certificate);
  EXPECT_TRUE(fails(vault_->wrap("tls", managed, bytes_of("x")), ErrorCode::KeyOfCertificate, "certificate"));
  const std::string hsm = world_.create("hsm", {{"kty", "RSA-HSM"}});
  EXPECT_EQ(value_of(vault_->list_versions("hsm"))[0].key_type, "RSA");
  EXPECT_TRUE(vault_->wrap("hsm", hsm, bytes_of("x")).ok());
}

TEST_F(AzureServerTest, VersionsAreDisabledAndEnabledOneByOne) {
  const std::string first = world_.create("kek");
  const std::string second = world_.create("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", first, bytes_of(kContent)));
  succeed(vault_->set_enabled("kek", first, false));
  EXPECT_TRUE(fails(vault_->wrap("kek", first, bytes_of("x")), ErrorCode::KeyVersionDisabled, "vaultctl key enable"));
  EXPECT_TRUE(fails(vault_->unwrap("kek", first, kOaep, wrapped), ErrorCode::KeyVersionDisabled));
  EXPECT_TRUE(vault_->wrap("kek", second, bytes_of("x")).ok());
  succeed(vault_->set_enabled("kek", first, true));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", first, kOaep, wrapped))), kContent);
  EXPECT_TRUE(fails(vault_->set_enabled("kek", std::string(32, '0'), false), ErrorCode::KeyVersionNotFound));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", "latest", false), ErrorCode::KeyVersionNotFound));
  world_.azure().requests();
}

TEST_F(AzureServerTest, ExpiryIsNoObstacleToUnwrapping) {
  const std::string version = world_.create("kek", {{"exp", world_.now() + 100}});
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of(kContent)));
  world_.pass(100);
  EXPECT_TRUE(fails(vault_->wrap("kek", version, bytes_of("x")), ErrorCode::KeyVersionExpired, "rotate"));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", version, kOaep, wrapped))), kContent);
  // The service's clock may be ahead of this machine's.
  world_.machine().env().sim_clock().advance_seconds(-50);
  EXPECT_TRUE(fails(vault_->wrap("kek", version, bytes_of("x")), ErrorCode::KeyVersionExpired, "KeyExpired"));
}

TEST_F(AzureServerTest, DeletedKeysAreRecoveredOrPurged) {
  const std::string version = world_.create("kek");
  succeed(vault_->delete_key("kek"));
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyNotFound, "vaultctl key recover"));
  EXPECT_TRUE(fails(vault_->create_key("kek", {}), ErrorCode::KeyExists, "deleted"));
  EXPECT_TRUE(fails(vault_->purge_key("kek"), ErrorCode::PurgeProtected, "kek"));
  succeed(vault_->recover_key("kek"));
  EXPECT_EQ(value_of(vault_->list_versions("kek"))[0].id, version);
  EXPECT_TRUE(fails(vault_->recover_key("kek"), ErrorCode::KeyNotFound));
  vault_setting({{"purge_protection", false}});
  succeed(vault_->delete_key("kek"));
  succeed(vault_->purge_key("kek"));
  EXPECT_TRUE(fails(vault_->recover_key("kek"), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->delete_key("kek"), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(vault_->delete_key("../kek"), ErrorCode::InvalidName));
  world_.azure().requests();
}

TEST_F(AzureServerTest, PropertiesFollowTheRecoveryLevel) {
  KeyVaultProperties properties = value_of(vault_->properties());
  EXPECT_EQ(properties.provider, "azure");
  EXPECT_EQ(properties.soft_delete, std::nullopt);
  EXPECT_EQ(properties.region, std::nullopt);
  EXPECT_EQ(properties.location, world_.address());
  world_.create("kek");
  properties = value_of(world_.open(world_.options({{"region", "westeurope"}}))->properties());
  EXPECT_EQ(properties.region, "westeurope");
  EXPECT_EQ(properties.soft_delete, true);
  EXPECT_EQ(properties.purge_protection, true);
  vault_setting({{"purge_protection", false}});
  EXPECT_EQ(value_of(vault_->properties()).purge_protection, false);
  vault_setting({{"soft_delete", false}});
  EXPECT_EQ(value_of(vault_->properties()).soft_delete, false);
}

TEST_F(AzureServerTest, AnswersOfOtherKeysAreRefused) {
  const std::string version = world_.create("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of(kContent)));
  const std::string other = world_.address() + "/keys/kek/" + std::string(32, '0');
  const std::string value(342, 'A');
  const auto answered = [&](const nlohmann::json& body) {
    return wrap_during({{"kind", "status"}, {"status", 200}, {"body", body}, {"path", "wrapkey"}}, version);
  };
  const std::string own = world_.address() + "/keys/kek/" + version;
  EXPECT_TRUE(answered({{"kid", own}, {"value", value}}).ok());
  for (const nlohmann::json& body :
       std::vector<nlohmann::json>{{{"kid", other}, {"value", value}},
                                   {{"kid", own}, {"value", value + "=="}},
                                   {{"kid", own}, {"value", "AAAA"}},
                                   {{"kid", own}},
                                   {{"value", value}},
                                   {{"kid", "https://evil.example/keys/kek/" + version}, {"value", value}}}) {
    EXPECT_TRUE(fails(answered(body), ErrorCode::KeyVaultUnavailable, "the key vault office")) << body;
  }
}

TEST_F(AzureServerTest, NoAnswerButTheServicesOwnDecidesAnything) {
  const std::string version = world_.create("kek");
  for (const nlohmann::json& fault : std::vector<nlohmann::json>{
           {{"kind", "status"}, {"status", 403}, {"body", "<html>Forbidden</html>"}},
           {{"kind", "status"}, {"status", 404}, {"body", "<html>Not found</html>"}},
           {{"kind", "status"}, {"status", 404}},
           // Gateways: with errors of their own form, or in the service's form with codes of their own.
           {{"kind", "status"}, {"status", 404}, {"body", {{"status", 404}, {"error", "Not Found"}}}},
           {{"kind", "status"}, {"status", 403}, {"body", {{"error", "Forbidden"}}}},
           {{"kind", "status"}, {"status", 404}, {"body", {{"error", {{"code", "ResourceNotFound"}}}}}},
           {{"kind", "status"}, {"status", 403}, {"body", {{"error", {{"code", "AuthorizationFailed"}}}}}},
           {{"kind", "status"}, {"status", 400}, {"body", {{"error", {{"code", "BadRequest"}}}}}},
           {{"kind", "status"}, {"status", 401}},
           {{"kind", "status"}, {"status", 200}, {"body", {{"key", 7}}}},
           {{"kind", "status"}, {"status", 429}, {"body", {{"error", {{"code", "Throttled"}}}}}},
           {{"kind", "status"}, {"status", 500}, {"body", {{"error", {{"code", "InternalServerError"}}}}}},
           {{"kind", "malformed"}},
           {{"kind", "oversized"}},
           {{"kind", "cut"}},
           {{"kind", "drop"}},
           {{"kind", "redirect"}, {"location", "https://evil.example/"}}}) {
    EXPECT_TRUE(fails(wrap_during(fault, version), ErrorCode::KeyVaultUnavailable, "the key vault office")) << fault;
  }
  EXPECT_TRUE(wrap_during({{"kind", "drop"}, {"times", 2}}, version).ok());
  EXPECT_TRUE(
      wrap_during({{"kind", "status"}, {"status", 429}, {"headers", {{"x-ms-retry-after-ms", "1500"}}}, {"times", 1}},
                  version)
          .ok());
  EXPECT_EQ(world_.machine().pauses().back(), std::chrono::milliseconds(1500));
}

// As above, with a login that was there before, and for what opens.
TEST_F(AzureServerTest, AGatewayInBetweenTakesNoKeyAway) {
  const std::string version = world_.create("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of(kContent)));
  const auto unwrap_during = [&](int status, const nlohmann::json& body, const char* path) {
    world_.azure().fault({{"kind", "status"}, {"status", status}, {"body", body}, {"path", path}});
    auto result = vault_->unwrap("kek", version, kOaep, wrapped);
    world_.azure().heal();
    return result;
  };
  for (const char* const path : {"/keys/", "unwrapkey"}) {
    for (const int status : {400, 401, 403, 404}) {
      for (const nlohmann::json& error : std::vector<nlohmann::json>{"Not Found", {{"code", "Strange"}}}) {
        const nlohmann::json body{{"status", status}, {"error", error}};
        EXPECT_TRUE(fails(unwrap_during(status, body, path), ErrorCode::KeyVaultUnavailable)) << path << body;
      }
    }
  }
  const auto own = [](const char* code) { return nlohmann::json{{"error", {{"code", code}, {"message", "m"}}}}; };
  EXPECT_TRUE(fails(unwrap_during(404, own("keynotfound"), "/keys/"), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(unwrap_during(403, own("Forbidden"), "/keys/"), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(fails(unwrap_during(400, own("BadParameter"), "unwrapkey"), ErrorCode::AuthenticationFailed));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", version, kOaep, wrapped))), kContent);
}

TEST_F(AzureServerTest, NothingUnwrappedStaysInTheHeap) {
  const std::string version = world_.create("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of(kContent)));
  const std::string encoded = to_base64(bytes_of(kContent));
  for (const std::string& text : {std::string(kContent.substr(0, 20)), encoded.substr(0, 20), std::string("eyJ0.")}) {
    const FreedHeapWatch watch(text);
    const auto vault = world_.open();
    const SecretBuffer opened = value_of(vault->unwrap("kek", version, kOaep, wrapped));
    EXPECT_TRUE(bytes_equal(opened.view(), bytes_of(kContent)));  // without a text of it
    value_of(vault->wrap("kek", version, bytes_of(kContent)));
    EXPECT_EQ(FreedHeapWatch::sightings(), 0) << text;
  }
}

TEST_F(AzureServerTest, VersionsOfOneSecondAreInTheirOrder) {
  std::string newest = world_.create("kek");
  std::string largest;
  // Until the newest id is not the last one by chance.
  do {
    largest = std::max(largest, newest);
    newest = world_.azure().ask({{"do", "create"}, {"name", "kek"}}).at("version").get<std::string>();
  } while (newest > largest);
  EXPECT_EQ(value_of(vault_->list_versions("kek")).back().id, newest);
}

// Only what is to be opened can be damaged: a wrap that is refused so is the request's fault.
TEST_F(AzureServerTest, AWrapThatIsRefusedIsNoDamage) {
  const std::string version = world_.create("kek");
  const nlohmann::json body{{"error", {{"code", "BadParameter"}, {"message", "m"}}}};
  EXPECT_TRUE(fails(wrap_during({{"kind", "status"}, {"status", 400}, {"body", body}, {"path", "wrapkey"}}, version),
                    ErrorCode::KeyVaultUnavailable, "does not understand"));
}

TEST_F(AzureServerTest, ErrorCodesAreReadHoweverTheyAreSpelt) {
  const std::string version = world_.create("kek");
  const auto refused = [&](const char* inner) {
    return wrap_during({{"kind", "status"},
                        {"status", 403},
                        {"body", {{"error", {{"code", "Forbidden"}, {"innerError", {{"code", inner}}}}}}},
                        {"path", "wrapkey"}},
                       version);
  };
  EXPECT_TRUE(fails(refused("KeyDisabled"), ErrorCode::KeyVersionDisabled));
  EXPECT_TRUE(fails(refused("KeyNotYetValid"), ErrorCode::KeyVersionNotYetValid));
  EXPECT_TRUE(fails(refused("ForbiddenByRbac"), ErrorCode::KeyVaultDenied, "ForbiddenByRbac"));
}

}  // namespace
}  // namespace vaultfs
