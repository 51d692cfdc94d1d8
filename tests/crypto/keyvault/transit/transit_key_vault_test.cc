#include "crypto/keyvault/transit/transit_key_vault.h"

#include <gtest/gtest.h>

#include <thread>

#include "crypto/memory/base64.h"
#include "tests/crypto/keyvault/freed_heap.h"
#include "tests/crypto/keyvault/transit/transit_fixture.h"

namespace vaultfs {
namespace {

constexpr std::string_view kTransitContent = "a data encryption key, to be kept secret";

class TransitServerTest : public ::testing::Test {
 protected:
  void config(const std::string& key, nlohmann::json values) {
    values["do"] = "config";
    values["name"] = key;
    world_.engine().ask(values);
  }
  // The key vault's answer to a wrap while a fault lasts.
  Result<Bytes> wrap_during(nlohmann::json fault) {
    world_.engine().fault(std::move(fault));
    auto result = vault_->wrap("kek", "1", bytes_of(kTransitContent));
    world_.engine().heal();
    return result;
  }

  TransitWorld world_;
  std::unique_ptr<AdministeredKeyVault> vault_ = world_.open();
};

TEST_F(TransitServerTest, KeysAreMadeRotatedAndListed) {
  EXPECT_TRUE(value_of(vault_->list_keys()).empty());
  const KeyVersionInfo first = value_of(vault_->create_key("kek", {}));
  EXPECT_EQ(first.id, "1");
  EXPECT_EQ(first.key_type, "AES");
  EXPECT_EQ(first.bits, 256U);
  EXPECT_TRUE(fails(vault_->create_key("kek", {}), ErrorCode::KeyExists, "kek"));
  EXPECT_TRUE(fails(vault_->create_key("a/../b", {}), ErrorCode::InvalidName));
  EXPECT_EQ(value_of(vault_->rotate_key("kek", {}, true)).id, "2");
  EXPECT_TRUE(fails(vault_->rotate_key("nosuch", {}, true), ErrorCode::KeyNotFound, "nosuch"));
  world_.create("also");
  world_.create("signer", "ed25519");
  EXPECT_EQ(value_of(vault_->list_keys()), (std::vector<std::string>{"also", "kek", "signer"}));
  EXPECT_TRUE(fails(vault_->wrap("signer", "1", bytes_of("x")), ErrorCode::NotSupportedByProvider, "ed25519"));
  EXPECT_EQ(value_of(vault_->list_versions("signer"))[0].key_type, "ed25519");
  world_.engine().ask({{"do", "create"}, {"name", "derived"}, {"type", "aes256-gcm96"}, {"derived", true}});
  EXPECT_TRUE(fails(vault_->wrap_algorithm("derived", "1"), ErrorCode::NotSupportedByProvider, "derived"));
  world_.engine().requests();
}

TEST_F(TransitServerTest, RsaKeysTellTheirTimesAndSizes) {
  world_.create("kek", "rsa-3072");
  const auto versions = value_of(vault_->list_versions("kek"));
  EXPECT_EQ(versions[0].key_type, "RSA");
  EXPECT_EQ(versions[0].bits, 3072U);
  EXPECT_GT(versions[0].created_unix_seconds, 1'600'000'000);
  EXPECT_TRUE(fails(vault_->rotate_key("kek", {.bits = 2048, .not_before = {}, .expires = {}}, false),
                    ErrorCode::NotSupportedByProvider, "size"));
  world_.engine().requests();
}

TEST_F(TransitServerTest, EncryptingNeverCreatesAKey) {
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of("x")), ErrorCode::KeyNotFound, "kek"));
  EXPECT_TRUE(world_.engine().ask({{"do", "state"}})["keys"].empty());
}

TEST_F(TransitServerTest, DisablingIsAFloorAndNothingElse) {
  world_.create("kek");
  for (int i = 0; i < 3; ++i) world_.rotate("kek");
  const std::string algorithm = value_of(vault_->wrap_algorithm("kek", "1"));
  const Bytes wrapped = value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));

  EXPECT_TRUE(fails(vault_->set_enabled("kek", "2", false), ErrorCode::NotSupportedByProvider, "disable the older"));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", "4", false), ErrorCode::NotSupportedByProvider, "it is the latest"));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", "5", false), ErrorCode::KeyVersionNotFound));
  succeed(vault_->set_enabled("kek", "1", false));
  succeed(vault_->set_enabled("kek", "1", false));
  succeed(vault_->set_enabled("kek", "2", false));
  const auto versions = value_of(vault_->list_versions("kek"));
  ASSERT_EQ(versions.size(), 4U);
  EXPECT_FALSE(versions[0].enabled);
  EXPECT_FALSE(versions[1].enabled);
  EXPECT_TRUE(versions[2].enabled);
  EXPECT_LE(versions[0].created_unix_seconds, versions[2].created_unix_seconds);
  EXPECT_TRUE(fails(vault_->unwrap("kek", "1", algorithm, wrapped), ErrorCode::KeyVersionDisabled, "bao/kek/1"));
  EXPECT_TRUE(fails(vault_->wrap("kek", "2", bytes_of("x")), ErrorCode::KeyVersionDisabled, "min_decryption_version"));

  EXPECT_TRUE(fails(vault_->set_enabled("kek", "1", true), ErrorCode::NotSupportedByProvider, "newer ones first"));
  succeed(vault_->set_enabled("kek", "2", true));
  succeed(vault_->set_enabled("kek", "1", true));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", "1", algorithm, wrapped))), kTransitContent);
  world_.engine().requests();
}

TEST_F(TransitServerTest, MinEncryptionVersionStopsWrapsAndTheFloorTakesItAlong) {
  world_.create("kek");
  for (int i = 0; i < 2; ++i) world_.rotate("kek");
  const std::string algorithm = value_of(vault_->wrap_algorithm("kek", "1"));
  const Bytes wrapped = value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));
  config("kek", {{"min_encryption_version", 2}});
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of("x")), ErrorCode::KeyVersionExpired, "min_encryption_version"));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", "1", algorithm, wrapped))), kTransitContent);
  // The engine refuses a floor above min_encryption_version.
  succeed(vault_->set_enabled("kek", "1", false));
  succeed(vault_->set_enabled("kek", "2", false));
  EXPECT_FALSE(value_of(vault_->list_versions("kek"))[1].enabled);
}

TEST_F(TransitServerTest, TrimmedVersionsAreGone) {
  world_.create("kek");
  world_.rotate("kek");
  config("kek", {{"min_decryption_version", 2}, {"min_encryption_version", 2}, {"min_available_version", 2}});
  ASSERT_EQ(value_of(vault_->list_versions("kek")).size(), 1U);
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of("x")), ErrorCode::KeyVersionNotFound, "trimmed"));
}

TEST_F(TransitServerTest, WrapsOpenInTheirOwnFormOnly) {
  world_.create("kek");
  world_.rotate("kek");
  const std::string algorithm = value_of(vault_->wrap_algorithm("kek", "1"));
  const std::string wrapped(text_of(ByteView(value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent))))));
  ASSERT_TRUE(wrapped.starts_with("vault:v1:"));
  const std::string sealed = wrapped.substr(9);
  // The engine would take all but the last two: it skips line breaks, reads v01 as v1, v0 too.
  for (const std::string& text :
       {"vault:v1:" + sealed + "\n", "vault:v1:" + sealed.substr(0, 8) + "\r\n" + sealed.substr(8),
        "vault:v01:" + sealed, "vault:v0:" + sealed, "vault:v+1:" + sealed, "vault:v2:" + sealed, sealed}) {
    EXPECT_TRUE(fails(vault_->unwrap("kek", "1", algorithm, bytes_of(text)), ErrorCode::AuthenticationFailed)) << text;
  }
  EXPECT_TRUE(fails(vault_->unwrap("kek", "2", algorithm, bytes_of(wrapped)), ErrorCode::AuthenticationFailed));
  EXPECT_TRUE(fails(vault_->unwrap("kek", "01", algorithm, bytes_of(wrapped)), ErrorCode::KeyVersionNotFound));
}

TEST_F(TransitServerTest, NothingUnwrappedStaysInTheHeap) {
  world_.create("kek");
  world_.engine().ask({{"do", "credentials"}, {"role_id", "role"}, {"secret_id", "the-secret-id-of-the-role"}});
  world_.machine().write_secret("/secret-id", "the-secret-id-of-the-role");
  ProviderOptions options = world_.options();
  options.erase("token-file");
  options["role-id"] = "role";
  options["secret-id-file"] = "/secret-id";
  const std::string algorithm = value_of(vault_->wrap_algorithm("kek", "1"));
  const Bytes wrapped = value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));
  const std::string encoded = to_base64(bytes_of(kTransitContent));
  // The end of it: a parser's buffer gets the next word on top of the beginning.
  for (const std::string& text :
       {std::string(kTransitContent.substr(0, 20)), encoded.substr(encoded.size() - 20), std::string("hvs.")}) {
    const FreedHeapWatch watch(text);
    const auto vault = world_.open(options);
    const SecretBuffer opened = value_of(vault->unwrap("kek", "1", algorithm, wrapped));
    EXPECT_TRUE(bytes_equal(opened.view(), bytes_of(kTransitContent)));  // without a text of it
    value_of(vault->wrap("kek", "1", bytes_of(kTransitContent)));
    EXPECT_EQ(FreedHeapWatch::sightings(), 0) << text;
  }
}

TEST_F(TransitServerTest, AServerThatIgnoresAssociatedDataWrapsNothing) {
  world_.create("kek");
  world_.engine().ask({{"do", "server"}, {"ignores_associated_data", true}});
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of(kTransitContent)), ErrorCode::NotSupportedByProvider, "1.13"));
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of(kTransitContent)), ErrorCode::NotSupportedByProvider, "1.13"));
  // Updated.
  world_.engine().ask({{"do", "server"}});
  const Bytes wrapped = value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));
  EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", "1", value_of(vault_->wrap_algorithm("kek", "1")), wrapped))),
            kTransitContent);
  // It is asked once.
  world_.engine().requests();
  value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));
  EXPECT_EQ(world_.engine().requests().size(), 2U);
  world_.create("pair", "rsa-2048");
  value_of(vault_->wrap("pair", "1", bytes_of(kTransitContent)));
}

// What can't be asked has shown nothing: the server may be one that ignores them.
TEST_F(TransitServerTest, AnOutageProvesNothingOfAssociatedData) {
  world_.create("kek");
  world_.engine().ask({{"do", "server"}, {"ignores_associated_data", true}});
  world_.engine().fault(
      {{"kind", "status"}, {"status", 500}, {"body", {{"errors", {"storage"}}}}, {"path", "/decrypt/"}});
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of(kTransitContent)), ErrorCode::KeyVaultUnavailable, "storage"));
  world_.engine().heal();
  EXPECT_TRUE(fails(vault_->wrap("kek", "1", bytes_of(kTransitContent)), ErrorCode::NotSupportedByProvider, "1.13"));
  world_.engine().ask({{"do", "server"}});
}

// The answer says that it was done, and the key says otherwise.
TEST_F(TransitServerTest, AFloorThatIsNotThereWasNotSet) {
  world_.create("kek");
  world_.rotate("kek");
  world_.engine().fault({{"kind", "status"}, {"status", 204}, {"path", "/config"}});
  EXPECT_TRUE(fails(vault_->set_enabled("kek", "1", false), ErrorCode::TryAgain, "somebody else"));
  world_.engine().heal();
  succeed(vault_->set_enabled("kek", "1", false));
}

TEST_F(TransitServerTest, TroubleInsideTheServerIsNoDamage) {
  world_.create("kek");
  const std::string algorithm = value_of(vault_->wrap_algorithm("kek", "1"));
  const Bytes wrapped = value_of(vault_->wrap("kek", "1", bytes_of(kTransitContent)));
  const nlohmann::json body{
      {"errors", {"1 error occurred: * decryption failed: cipher: message authentication failed"}}};
  world_.engine().fault({{"kind", "status"}, {"status", 500}, {"body", body}, {"path", "/decrypt/"}});
  EXPECT_TRUE(fails(vault_->unwrap("kek", "1", algorithm, wrapped), ErrorCode::KeyVaultUnavailable));
  world_.engine().fault({{"kind", "status"}, {"status", 400}, {"body", body}, {"path", "/decrypt/"}});
  EXPECT_TRUE(fails(vault_->unwrap("kek", "1", algorithm, wrapped), ErrorCode::AuthenticationFailed));
}

TEST_F(TransitServerTest, TheTokenFileIsReadAtEachCallAndGuarded) {
  world_.create("kek");
  world_.engine().ask({{"do", "credentials"}, {"token", "hvs.renewed-by-an-agent"}});
  const auto denied = vault_->list_versions("kek");
  EXPECT_TRUE(fails(denied, ErrorCode::KeyVaultDenied, "bao"));
  EXPECT_EQ(denied.error().message.find(kTransitToken), std::string::npos);
  world_.machine().write_secret("/token", "hvs.renewed-by-an-agent");
  EXPECT_EQ(value_of(vault_->list_versions("kek")).size(), 1U);
  for (const char* const content : {"", "\n", "two words", "line\nline", "umlaut-\xc3\xbc"}) {
    world_.machine().write_secret("/token", content);
    EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "token-file")) << content;
  }
  world_.machine().env().remove("/token");
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "token-file"));
}

TEST_F(TransitServerTest, ServersThatAreNotReadyAreOutagesWithTheirReason) {
  world_.create("kek");
  world_.engine().ask({{"do", "server"}, {"sealed", true}});
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "the server is sealed"));
  EXPECT_EQ(world_.machine().pauses().size(), 3U);
  world_.engine().ask({{"do", "server"}, {"standby", true}});
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "standby"));
  world_.engine().ask({{"do", "server"}, {"initialized", false}});
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "not initialised"));
  world_.engine().ask({{"do", "server"}});
  EXPECT_EQ(value_of(vault_->list_versions("kek")).size(), 1U);
}

TEST_F(TransitServerTest, NamespaceAndMountThatAreMissingAreNoRevocation) {
  world_.create("kek");
  ProviderOptions elsewhere = world_.options();
  elsewhere["mount"] = "team/transit";
  EXPECT_TRUE(fails(world_.open(elsewhere)->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "mount"));
  world_.engine().ask({{"do", "credentials"}, {"namespace", "team/a"}});
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::KeyVaultUnavailable, "namespace"));
  ProviderOptions inside = world_.options();
  inside["namespace"] = "team/a";
  EXPECT_EQ(value_of(world_.open(inside)->list_versions("kek")).size(), 1U);
}

TEST_F(TransitServerTest, NoAnswerButTheEnginesOwnDecidesAnything) {
  world_.create("kek");
  const nlohmann::json html = "<html>Forbidden</html>";
  for (const nlohmann::json& fault : std::vector<nlohmann::json>{
           {{"kind", "status"}, {"status", 403}, {"body", html}},
           {{"kind", "status"}, {"status", 404}, {"body", html}},
           {{"kind", "status"}, {"status", 404}},
           {{"kind", "status"}, {"status", 400}, {"body", {{"errors", "encryption key not found"}}}},
           {{"kind", "status"}, {"status", 200}, {"body", html}},
           {{"kind", "status"}, {"status", 200}, {"body", {{"data", {{"keys", {{"1", "soon"}}}}}}}},
           {{"kind", "status"}, {"status", 418}, {"body", {{"errors", {"teapot"}}}}},
           {{"kind", "status"}, {"status", 500}, {"body", {{"errors", {"internal error"}}}}},
           {{"kind", "status"}, {"status", 429}, {"headers", {{"Retry-After", "1"}}}},
           {{"kind", "malformed"}},
           {{"kind", "oversized"}},
           {{"kind", "cut"}},
           {{"kind", "redirect"}, {"location", "https://evil.example/"}}}) {
    EXPECT_TRUE(fails(wrap_during(fault), ErrorCode::KeyVaultUnavailable, "the key vault bao")) << fault;
  }
  // A refusal in its own form, though.
  EXPECT_TRUE(fails(wrap_during({{"kind", "status"}, {"status", 403}, {"body", {{"errors", {"permission denied"}}}}}),
                    ErrorCode::KeyVaultDenied));
}

TEST_F(TransitServerTest, FaultsThatPassAreNotNoticed) {
  world_.create("kek");
  for (const char* const kind : {"drop", "cut"}) {
    EXPECT_TRUE(wrap_during({{"kind", kind}, {"times", 2}}).ok()) << kind;
  }
  EXPECT_TRUE(
      wrap_during({{"kind", "status"}, {"status", 429}, {"headers", {{"Retry-After", "3"}}}, {"times", 2}}).ok());
  EXPECT_EQ(world_.machine().pauses().back(), std::chrono::milliseconds(3000));
}

TEST_F(TransitServerTest, AWrapThatWasNotDoneAsAskedIsRefused) {
  world_.create("kek");
  const auto answered = [&](const nlohmann::json& data) {
    return wrap_during({{"kind", "status"}, {"status", 200}, {"body", {{"data", data}}}, {"path", "/encrypt/"}});
  };
  const auto refused = [&](const nlohmann::json& data) {
    return fails(answered(data), ErrorCode::KeyVaultUnavailable, "the key vault bao");
  };
  EXPECT_TRUE(answered({{"ciphertext", "vault:v1:QUJD"}}).ok());
  EXPECT_TRUE(refused({{"ciphertext", "vault:v2:QUJD"}, {"key_version", 2}}));
  EXPECT_TRUE(refused({{"ciphertext", "vault:v1:QUJD"}, {"key_version", 2}}));
  EXPECT_TRUE(refused({{"ciphertext", "vault:v1:QUI"}, {"key_version", 1}}));
  EXPECT_TRUE(refused({{"ciphertext", 7}}));
  EXPECT_TRUE(refused(nlohmann::json::object()));
}

TEST_F(TransitServerTest, NoErrorRepeatsASecretThatTheServerSendsBack) {
  world_.create("kek");
  const std::string plaintext = to_base64(bytes_of(kTransitContent));
  for (const std::string& secret : {std::string(kTransitToken), plaintext}) {
    const nlohmann::json body{{"errors", {"cannot do this with " + secret}}};
    for (const int status : {400, 403, 500}) {
      const auto result = wrap_during({{"kind", "status"}, {"status", status}, {"body", body}, {"path", "/encrypt/"}});
      ASSERT_FALSE(result.ok());
      EXPECT_EQ(result.error().message.find(secret.substr(0, 20)), std::string::npos) << result.error().message;
      EXPECT_NE(result.error().message.find("withheld"), std::string::npos) << result.error().message;
    }
  }
}

TEST_F(TransitServerTest, AServerThatHangsHoldsACallForItsTimeoutOnly) {
  world_.create("kek");
  // The real machine, with its clock and its pauses.
  ScratchDirectory files;
  const ProviderOptions options{{"address", world_.engine().address()},
                                {"ca-file", world_.engine().file("ca.pem").string()},
                                {"token-file", (files / "token").string()},
                                {"timeout", "1"}};
  succeed(write_file_durably(posix_env(), files / "token", bytes_of(kTransitToken)));
  const auto hanging = value_of(open_transit_key_vault({posix_env(), "/keyvaults/bao", "bao", options, {}}));
  EXPECT_EQ(value_of(hanging->list_versions("kek")).size(), 1U);
  world_.engine().fault({{"kind", "hang"}});
  const std::int64_t begun = posix_env().clock().monotonic_nanos();
  EXPECT_TRUE(fails(hanging->list_versions("kek"), ErrorCode::KeyVaultUnavailable));
  EXPECT_GE(posix_env().clock().monotonic_nanos() - begun, 900'000'000);
  world_.engine().heal();
  EXPECT_EQ(value_of(hanging->list_versions("kek")).size(), 1U);
}

TEST_F(TransitServerTest, CallsOfSeveralThreadsAreTheirOwn) {
  world_.create("kek");
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  const auto vault = world_.open();
  const std::string algorithm = value_of(vault->wrap_algorithm("kek", "1"));
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::string content(20, static_cast<char>('a' + i));
      for (int j = 0; j < 3; ++j) {
        const Bytes wrapped = value_of(vault->wrap("kek", "1", bytes_of(content)));
        good += text_of(value_of(vault->unwrap("kek", "1", algorithm, wrapped))) == content ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 12);
}

TEST_F(TransitServerTest, WhatTheEngineHasNotIsRefusedByName) {
  world_.create("kek");
  for (const Status& status : {vault_->delete_key("kek"), vault_->recover_key("kek"), vault_->purge_key("kek")}) {
    EXPECT_TRUE(fails(status, ErrorCode::NotSupportedByProvider, "bao"));
  }
  const KeyVaultProperties properties = value_of(vault_->properties());
  EXPECT_EQ(properties.provider, "transit");
  EXPECT_EQ(properties.soft_delete, std::nullopt);
  EXPECT_EQ(properties.location, world_.engine().address());
}

}  // namespace
}  // namespace vaultfs
