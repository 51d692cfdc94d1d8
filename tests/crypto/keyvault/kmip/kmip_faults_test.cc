#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>

#include "crypto/keyvault/kmip/wrap_format.h"
#include "tests/crypto/keyvault/kmip/kmip_script.h"
#include "tests/crypto/keyvault/kmip/kmip_server_process.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

using kmip_script::answer;
using kmip_script::attributes;
using kmip_script::cut;
using kmip_script::located;
using kmip_script::refusal;

constexpr std::int64_t kMade = 1'700'000'000;
constexpr std::string_view kTag16 = "00112233445566778899aabbccddeeff";

// A key vault at a server that does what the test says. Named after the ctest entry that holds all tests with servers.
class KmipServerFaults : public ::testing::Test {
 protected:
  KmipServerFaults() {
    server_.command("tls 1.3");
    script("");
    options_["timeout"] = "10";
  }
  void script(const std::string& actions) { server_.command("script" + actions); }
  int requests() { return std::stoi(server_.command("requests")); }
  int connections() { return std::stoi(server_.command("connections")); }
  AdministeredKeyVault& vault() {
    if (!vault_) vault_ = open_kmip(options_);
    return *vault_;
  }
  // What find() asks for before it wraps or unwraps: the version "9" of "kek" in that state.
  static std::string found(KmipState state = KmipState::active, std::string_view more = {}) {
    return answer(located({"9"})) + answer(attributes("9", state, kMade, more));
  }
  Bytes wrapped(std::string_view plaintext = "content") {
    KmipSealed sealed;
    sealed.ciphertext = to_bytes(bytes_of(plaintext));
    return encode_kmip_wrap(sealed);
  }

  KmipServerProcess& server_ = kmip_script::server();
  ProviderOptions options_ = server_.options("client");
  std::unique_ptr<AdministeredKeyVault> vault_;
};

// --- the connection ---

TEST_F(KmipServerFaults, OneThatNeverAnswersEndsTheCallInTime) {
  options_["timeout"] = "1";
  for (const char* mode : {"1.3", "silent"}) {
    vault_ = open_kmip(options_);
    server_.command(std::string("tls ") + mode);
    script(" hang");
    const auto began = std::chrono::steady_clock::now();
    EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "time")) << mode;
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20)) << mode;
  }
}

TEST_F(KmipServerFaults, OneThatAnswersByteByByteEndsTheCallInTime) {
  options_["timeout"] = "1";
  script(" trickle:42007b010000400042007a01");
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "time"));
}

TEST_F(KmipServerFaults, ACutAnswerIsAskedForAgain) {
  const std::string whole = located({"9"});
  script(cut(whole.substr(0, 40)) + cut(whole.substr(0, 16)) + " close" + answer(whole) +
         answer(attributes("9", KmipState::active, kMade)));
  EXPECT_EQ(value_of(vault().list_versions("kek")).size(), 1U);
  EXPECT_EQ(connections(), 4);
}

TEST_F(KmipServerFaults, AfterThreeRetriesItIsAnOutage) {
  script(" close close close close" + found());
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable));
  EXPECT_EQ(requests(), 4);
}

TEST_F(KmipServerFaults, ConnectionsAreKeptAndReplacedWhenTheyBreak) {
  script(found() + found());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(value_of(vault().wrap_algorithm("kek", "9")), "A256GCM");
  EXPECT_EQ(connections(), 1);
  // The server closes after each answer: no attempt is spent on that, and none fails.
  server_.command("then-close" + found() + found());
  vault_ = open_kmip(options_, {.retries = 0, .first_pause = std::chrono::milliseconds(1)});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(value_of(vault().wrap_algorithm("kek", "9")), "A256GCM");
  EXPECT_EQ(connections(), 4);
}

TEST_F(KmipServerFaults, AnOversizedAnswerIsNotTakenIn) {
  script(" cut:42007b01ffffffe8");
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "4294967272 bytes"));
  EXPECT_EQ(requests(), 1);
}

TEST_F(KmipServerFaults, WhatIsNoKmipIsAnOutage) {
  script(" cut:" + to_hex(bytes_of("HTTP/1.1 400 Bad Request\r\n\r\n")));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "no KMIP message"));
  server_.command("tls http");
  vault_ = open_kmip(options_);
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "TLS with the KMIP server failed"));
}

TEST_F(KmipServerFaults, AnUnknownHostIsAnOutage) {
  options_["address"] = "no-such-host.invalid";
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "no-such-host.invalid"));
}

// --- TLS ---

TEST_F(KmipServerFaults, AServerWithAnotherNameIsNotTrusted) {
  server_.command("tls wrong-host");
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "not trusted for 127.0.0.1"));
  EXPECT_EQ(connections(), 1);
  script(found());
  options_["server-name"] = "elsewhere.example";
  vault_ = open_kmip(options_);
  EXPECT_EQ(value_of(vault().wrap_algorithm("kek", "9")), "A256GCM");
}

TEST_F(KmipServerFaults, AServerOfAnotherCaIsNotTrusted) {
  options_["ca-file"] = server_.file("other-ca.pem").string();
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "not trusted"));
}

TEST_F(KmipServerFaults, OlderTlsIsRefused) {
  server_.command("tls 1.1");
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "TLS"));
  EXPECT_EQ(requests(), 0);
}

TEST_F(KmipServerFaults, AClientCertificateThatIsNotTakenIsAnOutage) {
  for (const char* mode : {"1.2", "1.3"}) {
    server_.command(std::string("tls ") + mode);
    for (const char* client : {"stranger", "expired"}) {
      vault_ = open_kmip(server_.options(client));
      EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable)) << client << mode;
      EXPECT_EQ(requests(), 0);
    }
  }
}

// Before the handshake is over anybody on the wire can send an alert; afterwards only the server can.
TEST_F(KmipServerFaults, ARevokedClientCertificateIsADenialWhereTheServerProvablySaysSo) {
  server_.command("tls crl-1.3");
  vault_ = open_kmip(server_.options("revoked"));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultDenied, "revoked.pem"));
  server_.command("tls crl-1.2");
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable));
}

TEST_F(KmipServerFaults, FilesThatCannotBeUsedAreNamed) {
  const auto with = [&](const char* option, const std::filesystem::path& path) {
    ProviderOptions options = options_;
    options[option] = path.string();
    return open_kmip(options)->list_versions("kek");
  };
  EXPECT_TRUE(fails(with("ca-file", "/nowhere.pem"), ErrorCode::KeyVaultUnavailable, "ca-file /nowhere.pem"));
  EXPECT_TRUE(
      fails(with("client-cert-file", server_.file("client.key")), ErrorCode::KeyVaultUnavailable, "no certificate"));
  EXPECT_TRUE(fails(with("client-key-file", "/nowhere.key"), ErrorCode::KeyVaultUnavailable, "client-key-file"));
  EXPECT_TRUE(fails(with("client-key-file", server_.file("stranger.key")), ErrorCode::KeyVaultUnavailable,
                    "does not belong to"));
  const auto open_to_all = server_.file("open.key");
  std::filesystem::copy_file(server_.file("client.key"), open_to_all,
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(open_to_all, std::filesystem::perms(0640));
  EXPECT_TRUE(fails(with("client-key-file", open_to_all), ErrorCode::PermissionDenied, "chmod 600"));
  const auto broken = server_.file("broken.pem");
  std::ofstream(broken) << "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  EXPECT_TRUE(fails(with("ca-file", broken), ErrorCode::KeyVaultUnavailable, "broken.pem"));
  // Who may write it could be the key vault.
  const auto shared = server_.file("shared-ca.pem");
  std::filesystem::copy_file(server_.file("ca.pem"), shared, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(shared, std::filesystem::perms(0664));
  EXPECT_TRUE(fails(with("ca-file", shared), ErrorCode::PermissionDenied, "can be written by others"));
  EXPECT_EQ(requests(), 0);
}

// --- answers ---

TEST_F(KmipServerFaults, AnotherKmipVersionIsRefused) {
  script(answer(kmip_script::success(KmipOperation::locate, kmip_script::text(0x420094, "9"), 2)));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::NotSupportedByProvider, "KMIP 1.2"));
  script(answer(refusal(4, "unsupported version", 2)));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::NotSupportedByProvider, "KMIP 1.2"));
}

TEST_F(KmipServerFaults, AnUnknownClientIsDeniedInWhateverVersion) {
  script(answer(refusal(3, "who are you", 0)));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultDenied, "who are you"));
}

TEST_F(KmipServerFaults, ATagThatIsMissingOrShortIsRefused) {
  const std::string data = to_hex(bytes_of("1234567"));
  const auto wrap_answered = [&](const std::string& more) {
    script(found() + answer(kmip_script::encrypted("9", data, more)));
    return vault().wrap("kek", "9", bytes_of("content"));
  };
  EXPECT_TRUE(fails(wrap_answered(""), ErrorCode::NotSupportedByProvider, "without giving the authentication tag"));
  EXPECT_TRUE(fails(wrap_answered(kmip_script::tag_item("00112233")), ErrorCode::NotSupportedByProvider, "4 bytes"));
  EXPECT_TRUE(fails(wrap_answered(kmip_script::tag_item(std::string(kTag16) + "00")), ErrorCode::NotSupportedByProvider,
                    "17 bytes"));
  const std::string tag = kmip_script::tag_item(kTag16);
  EXPECT_TRUE(fails(wrap_answered(tag + kmip_script::iv_item("000000000000000000000000")),
                    ErrorCode::NotSupportedByProvider, "another IV"));
  EXPECT_EQ(value_of(wrap_answered(tag)).size(), 29U + 7U);
}

TEST_F(KmipServerFaults, AnswersAboutSomethingElseAreAnOutage) {
  script(answer(located({"9"})) + answer(attributes("8", KmipState::active, kMade)));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "another object"));
  script(found() + answer(kmip_script::decrypted("8", "content")));
  EXPECT_TRUE(
      fails(vault().unwrap("kek", "9", "A256GCM", wrapped()), ErrorCode::KeyVaultUnavailable, "another object"));
  script(found() + answer(kmip_script::decrypted("9", "another length")));
  EXPECT_TRUE(fails(vault().unwrap("kek", "9", "A256GCM", wrapped()), ErrorCode::KeyVaultUnavailable, "length"));
  script(answer(located({"9", "9"})));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyVaultUnavailable, "twice"));
  script(answer(located({"a/b"})));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::NotSupportedByProvider, "a/b"));
}

// General failure is what PyKMIP says of bytes that do not open, and of a database that does not either.
TEST_F(KmipServerFaults, AFailureOfTheServerIsNotTakenForDamagedBytes) {
  const std::string state = answer(attributes("9", KmipState::active, kMade));
  script(found() + answer(refusal(0x100, "see the logs")) + state + answer(refusal(0x100, "see the logs")));
  EXPECT_TRUE(fails(vault().unwrap("kek", "9", "A256GCM", wrapped()), ErrorCode::KeyVaultUnavailable, "see the logs"));
  EXPECT_EQ(requests(), 5);
}

TEST_F(KmipServerFaults, RefusalsAreToldApart) {
  const auto listed = [&](std::uint32_t reason) {
    script(answer(refusal(reason)));
    return vault().list_versions("kek");
  };
  EXPECT_TRUE(fails(listed(0x01), ErrorCode::KeyNotFound));
  EXPECT_TRUE(fails(listed(0x05), ErrorCode::NotSupportedByProvider, "Locate"));
  EXPECT_TRUE(fails(listed(0x0c), ErrorCode::KeyVaultDenied));
  EXPECT_TRUE(fails(listed(0x100), ErrorCode::KeyVaultUnavailable, "0x0100"));
  script(found() + answer(refusal(0x0d, "archived")));
  EXPECT_TRUE(fails(vault().wrap("kek", "9", bytes_of("x")), ErrorCode::KeyVersionDisabled, "archived"));
  script(answer(located({"9"})) + answer(refusal(0x01)));
  EXPECT_TRUE(fails(vault().wrap("kek", "9", bytes_of("x")), ErrorCode::KeyVersionNotFound));
}

// --- states and dates that PyKMIP does not have ---

TEST_F(KmipServerFaults, DatesOfTheServerAreKept) {
  const std::int64_t now = posix_env().clock().now().seconds();
  const std::string past_stop = kmip_script::date_attribute("Activation Date", kMade + 5) +
                                kmip_script::date_attribute("Protect Stop Date", now - 10) +
                                kmip_script::date_attribute("Deactivation Date", now + 1000);
  script(found(KmipState::active, past_stop));
  const KeyVersionInfo info = value_of(vault().list_versions("kek")).at(0);
  EXPECT_EQ(info.created_unix_seconds, kMade);
  EXPECT_EQ(info.not_before, kMade + 5);
  EXPECT_EQ(info.expires, now - 10);
  EXPECT_TRUE(info.enabled);
  script(found(KmipState::active, past_stop));
  EXPECT_TRUE(fails(vault().wrap("kek", "9", bytes_of("x")), ErrorCode::KeyVersionExpired, "9"));
  script(found(KmipState::active, kmip_script::date_attribute("Activation Date", now + 1000)));
  EXPECT_TRUE(fails(vault().wrap("kek", "9", bytes_of("x")), ErrorCode::KeyVersionNotYetValid, "9"));
}

TEST_F(KmipServerFaults, AServerThatLetsADeactivatedKeyDecryptOpensWhatItHolds) {
  script(found(KmipState::deactivated) + answer(kmip_script::decrypted("9", "content")));
  EXPECT_EQ(text_of(value_of(vault().unwrap("kek", "9", "A256GCM", wrapped()))), "content");
}

TEST_F(KmipServerFaults, AKeyThatMayNotDecryptWrapsNothing) {
  for (const int mask : {kKmipEncrypt, kKmipDecrypt, 0}) {
    script(answer(located({"9"})) + answer(attributes("9", KmipState::active, kMade, {}, mask)));
    EXPECT_TRUE(fails(vault().wrap("kek", "9", bytes_of("x")), ErrorCode::NotSupportedByProvider, "usage mask"));
    EXPECT_EQ(requests(), 2);
  }
}

TEST_F(KmipServerFaults, DestroyedObjectsAreNoVersions) {
  script(answer(located({"8", "9"})) + answer(attributes("8", KmipState::destroyed, kMade)) +
         answer(attributes("9", KmipState::active, kMade)));
  EXPECT_EQ(value_of(vault().list_versions("kek")).size(), 1U);
  script(found(KmipState::destroyed_compromised));
  EXPECT_TRUE(fails(vault().list_versions("kek"), ErrorCode::KeyNotFound));
  script(found(KmipState::destroyed));
  EXPECT_TRUE(fails(vault().unwrap("kek", "9", "A256GCM", wrapped()), ErrorCode::KeyVersionNotFound));
}

TEST_F(KmipServerFaults, VersionsOfOneSecondAreOrderedByNumber) {
  script(answer(located({"10", "9", "2"})) + answer(attributes("10", KmipState::active, kMade)) +
         answer(attributes("9", KmipState::active, kMade)) + answer(attributes("2", KmipState::active, kMade + 1)));
  std::vector<std::string> ids;
  for (const KeyVersionInfo& info : value_of(vault().list_versions("kek"))) ids.push_back(info.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"9", "10", "2"}));
}

// --- administration that fails half-way ---

TEST_F(KmipServerFaults, AKeyThatCannotBeActivatedIsTakenBack) {
  const std::string created = answer(kmip_script::done(KmipOperation::create, "9")) + answer(located({"9"})) +
                              answer(attributes("9", KmipState::pre_active, kMade));
  const std::string refused = answer(refusal(0x0c, "not you")) + answer(attributes("9", KmipState::pre_active, kMade));
  script(answer(located({})) + created + refused + answer(kmip_script::done(KmipOperation::destroy, "9")));
  EXPECT_TRUE(fails(vault().create_key("kek", {}), ErrorCode::KeyVaultDenied, "not you"));
  EXPECT_EQ(server_.command("operation " + std::to_string(requests() - 1)), "14");
  // What is left because that failed as well is named.
  script(answer(located({})) + created + refused + answer(refusal(0x0c)));
  EXPECT_TRUE(fails(vault().create_key("kek", {}), ErrorCode::KeyVaultDenied, "the object 9 was left"));
}

// An Activate whose answer was lost is sent again, and the second one is refused. What it made is used from then on.
TEST_F(KmipServerFaults, AnActivationThatTookEffectIsNotTakenBack) {
  const std::string created = answer(kmip_script::done(KmipOperation::create, "9")) + answer(located({"9"})) +
                              answer(attributes("9", KmipState::pre_active, kMade));
  script(answer(located({})) + created + " close" + answer(refusal(0x0c, "not pre-active")) +
         answer(attributes("9", KmipState::active, kMade)));
  EXPECT_EQ(value_of(vault().create_key("kek", {})).id, "9");
  // Nobody is told to destroy what may be active.
  script(answer(located({})) + created + answer(refusal(0x0c, "not you")) + answer(refusal(0x0c)));
  EXPECT_TRUE(fails(vault().create_key("kek", {}), ErrorCode::KeyVaultDenied, "destroy it only if it is not"));
}

TEST_F(KmipServerFaults, CreateIsNotSentTwice) {
  script(answer(located({})) + " close" + answer(kmip_script::done(KmipOperation::create, "9")));
  EXPECT_TRUE(fails(vault().create_key("kek", {}), ErrorCode::KeyVaultUnavailable, "is not known"));
  EXPECT_EQ(requests(), 2);
}

TEST_F(KmipServerFaults, ARotationWhoseVersionWouldNotBeTheNewestIsTakenBack) {
  script(found() + answer(kmip_script::done(KmipOperation::create, "10")) + answer(located({"9", "10"})) +
         answer(attributes("9", KmipState::active, kMade)) +
         answer(attributes("10", KmipState::pre_active, kMade - 60)) +
         answer(kmip_script::done(KmipOperation::destroy, "10")));
  EXPECT_TRUE(fails(vault().rotate_key("kek", {}, true), ErrorCode::TryAgain, "newest"));
  EXPECT_EQ(server_.command("operation " + std::to_string(requests() - 1)), "14");
}

TEST_F(KmipServerFaults, TwoWhoMakeTheSameKeyNoticeIt) {
  script(answer(located({})) + answer(kmip_script::done(KmipOperation::create, "10")) + answer(located({"9", "10"})) +
         answer(attributes("9", KmipState::active, kMade)) + answer(attributes("10", KmipState::pre_active, kMade)) +
         answer(kmip_script::done(KmipOperation::destroy, "10")));
  EXPECT_TRUE(fails(vault().create_key("kek", {}), ErrorCode::KeyExists));
  EXPECT_EQ(server_.command("operation " + std::to_string(requests() - 1)), "14");
}

TEST_F(KmipServerFaults, AServerWithUniqueNamesCannotRotate) {
  script(found() + answer(refusal(0x07, "name is taken")));
  EXPECT_TRUE(fails(vault().rotate_key("kek", {}, true), ErrorCode::NotSupportedByProvider, "second object named kek"));
}

}  // namespace
}  // namespace vaultfs
