#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/crypto/keyvault/kmip/kmip_server_process.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

// Against PyKMIP's server, with PyKMIP's client as the other side. Named after the ctest entry that holds all tests
// with servers.
class KmipServerPykmip : public ::testing::Test {
 protected:
  std::string as_administrator(const std::string& what) { return server_.command(what); }
  std::string make(const std::string& key) { return server_.command("create " + user_ + " " + key); }
  void expect_unwraps(const std::string& version, const Bytes& wrapped) {
    EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", version, kAlgorithm, wrapped))), "content");
  }

  static constexpr std::string_view kAlgorithm = "A256GCM";
  KmipServerProcess& server_ = pykmip();
  const std::string user_ = new_pykmip_user();
  std::unique_ptr<AdministeredKeyVault> vault_ = open_kmip(server_.options(user_));
};

TEST_F(KmipServerPykmip, KeysAreMadeAndRotated) {
  EXPECT_TRUE(value_of(vault_->list_keys()).empty());
  EXPECT_TRUE(fails(vault_->rotate_key("kek", {}, true), ErrorCode::KeyNotFound, "kek"));
  const std::int64_t before = posix_env().clock().now().seconds();
  const KeyVersionInfo first = value_of(vault_->create_key("kek", {}));
  EXPECT_EQ(first.key_type, "AES");
  EXPECT_EQ(first.bits, 256U);
  EXPECT_GE(first.created_unix_seconds, before);
  EXPECT_TRUE(first.may_wrap(posix_env().clock().now().seconds()));
  EXPECT_EQ(as_administrator("state " + user_ + " " + first.id), "ACTIVE");
  EXPECT_TRUE(fails(vault_->create_key("kek", {}), ErrorCode::KeyExists, "kek"));

  const Bytes wrapped = value_of(vault_->wrap("kek", first.id, bytes_of("content")));
  const KeyVersionInfo second = value_of(vault_->rotate_key("kek", {}, true));
  const auto versions = value_of(vault_->list_versions("kek"));
  ASSERT_EQ(versions.size(), 2U);
  EXPECT_EQ(versions[0].id, first.id);
  EXPECT_EQ(versions[1].id, second.id);
  expect_unwraps(first.id, wrapped);
  value_of(vault_->wrap("kek", second.id, bytes_of("content")));

  value_of(vault_->create_key("another", {}));
  EXPECT_EQ(value_of(vault_->list_keys()), (std::vector<std::string>{"another", "kek"}));
}

TEST_F(KmipServerPykmip, WhatCannotBeTakenBackIsNotDone) {
  const std::string version = make("kek");
  EXPECT_TRUE(fails(vault_->set_enabled("kek", version, false), ErrorCode::NotSupportedByProvider, "Revoke"));
  EXPECT_TRUE(fails(vault_->delete_key("kek"), ErrorCode::NotSupportedByProvider, "Destroy"));
  EXPECT_TRUE(fails(vault_->purge_key("kek"), ErrorCode::NotSupportedByProvider));
  const KeyOptions dated{.bits = 0, .not_before = {}, .expires = 4'000'000'000};
  EXPECT_TRUE(fails(vault_->create_key("dated", dated), ErrorCode::NotSupportedByProvider, "dates"));
  EXPECT_EQ(as_administrator("state " + user_ + " " + version), "ACTIVE");
  EXPECT_EQ(value_of(vault_->list_keys()), std::vector<std::string>{"kek"});
}

TEST_F(KmipServerPykmip, ARevokedVersionIsARevocationForGood) {
  for (const std::string reason : {"superseded", "compromise"}) {
    const std::string key = "kek-" + reason;
    const std::string version = make(key);
    const Bytes wrapped = value_of(vault_->wrap(key, version, bytes_of("content")));
    as_administrator("revoke " + user_ + " " + version + " " + reason);
    const KeyVersionInfo info = value_of(vault_->list_versions(key)).at(0);
    EXPECT_FALSE(info.may_wrap(posix_env().clock().now().seconds()));
    EXPECT_TRUE(fails(vault_->wrap(key, version, bytes_of("x")), ErrorCode::KeyVersionExpired, "never takes back"));
    EXPECT_TRUE(fails(vault_->unwrap(key, version, kAlgorithm, wrapped), ErrorCode::KeyVersionDisabled,
                      reason == "superseded" ? "Deactivated" : "Compromised"));
  }
}

TEST_F(KmipServerPykmip, APreActiveVersionWaitsForItsActivation) {
  const std::string version = as_administrator("prepare " + user_ + " kek");
  const KeyVersionInfo info = value_of(vault_->list_versions("kek")).at(0);
  EXPECT_FALSE(info.may_wrap(posix_env().clock().now().seconds()));
  EXPECT_TRUE(info.not_before.has_value());
  EXPECT_TRUE(fails(vault_->wrap("kek", version, bytes_of("x")), ErrorCode::KeyVersionNotYetValid, "Pre-Active"));
  const Bytes foreign(29 + 7, std::byte{1});
  EXPECT_TRUE(fails(vault_->unwrap("kek", version, kAlgorithm, foreign), ErrorCode::KeyVersionDisabled, "Pre-Active"));
  as_administrator("activate " + user_ + " " + version);
  EXPECT_TRUE(value_of(vault_->list_versions("kek")).at(0).may_wrap(posix_env().clock().now().seconds()));
  expect_unwraps(version, value_of(vault_->wrap("kek", version, bytes_of("content"))));
}

TEST_F(KmipServerPykmip, ADestroyedVersionIsGone) {
  const std::string version = make("kek");
  const std::string other = make("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of("content")));
  as_administrator("revoke " + user_ + " " + version + " superseded");
  as_administrator("destroy " + user_ + " " + version);
  EXPECT_TRUE(fails(vault_->unwrap("kek", version, kAlgorithm, wrapped), ErrorCode::KeyVersionNotFound, version));
  EXPECT_EQ(value_of(vault_->list_versions("kek")).at(0).id, other);
}

// PyKMIP's database takes "09" for 9: an alias would be a second version id for one key.
TEST_F(KmipServerPykmip, AVersionHasOneIdentifier) {
  const std::string version = make("kek");
  EXPECT_TRUE(fails(vault_->wrap("kek", "0" + version, bytes_of("x")), ErrorCode::KeyVersionNotFound));
  EXPECT_TRUE(fails(vault_->wrap("kek", "", bytes_of("x")), ErrorCode::KeyVersionNotFound));
  EXPECT_TRUE(fails(vault_->wrap("kek", "\x1b[2J", bytes_of("x")), ErrorCode::KeyVersionNotFound, "of that id"));
  // A version of another key is none of this one, though the server would encrypt with it.
  const std::string other = make("other");
  EXPECT_TRUE(fails(vault_->wrap("kek", other, bytes_of("x")), ErrorCode::KeyVersionNotFound, other));
}

TEST_F(KmipServerPykmip, AKeyThatIsTooShortIsRefused) {
  const std::string small = as_administrator("create " + user_ + " small 128");
  EXPECT_EQ(value_of(vault_->list_versions("small")).at(0).bits, 128U);
  EXPECT_TRUE(fails(vault_->wrap("small", small, bytes_of("x")), ErrorCode::KeySizeUnsupported, "AES-256"));
}

TEST_F(KmipServerPykmip, OtherClientsSeeNothingAndUnfitOnesAreDenied) {
  const std::string version = make("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of("content")));
  const auto other = open_kmip(server_.options(new_pykmip_user()));
  EXPECT_TRUE(fails(other->list_versions("kek"), ErrorCode::KeyNotFound, "certificate"));
  EXPECT_TRUE(fails(other->unwrap("kek", version, kAlgorithm, wrapped), ErrorCode::KeyNotFound));
  const auto unfit = open_kmip(server_.options("no-usage"));
  EXPECT_TRUE(fails(unfit->unwrap("kek", version, kAlgorithm, wrapped), ErrorCode::KeyVaultDenied));
  const auto stranger = open_kmip(server_.options("stranger"));
  EXPECT_TRUE(fails(stranger->unwrap("kek", version, kAlgorithm, wrapped), ErrorCode::KeyVaultUnavailable));

  // An identity says who asks, before the key vault's own options do.
  const ProviderOptions own = server_.options(user_);
  const ProviderIdentity identity{"operator",
                                  {{"client-cert-file", own.at("client-cert-file")},
                                   {"client-key-file", own.at("client-key-file")},
                                   {"address", "elsewhere.invalid"}}};
  const auto as_identity =
      value_of(open_kmip_key_vault({posix_env(), "/nowhere", "hsm", server_.options("no-usage"), identity}));
  EXPECT_EQ(text_of(value_of(as_identity->unwrap("kek", version, kAlgorithm, wrapped))), "content");
}

TEST_F(KmipServerPykmip, AServerThatWasKilledIsFoundAgain) {
  const std::string version = make("kek");
  const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of("content")));
  server_.kill();
  server_.start();
  // The connection that was kept is dead, which costs no attempt.
  const auto without_retries =
      open_kmip(server_.options(user_), {.retries = 0, .first_pause = std::chrono::milliseconds(1)});
  expect_unwraps(version, wrapped);
  EXPECT_EQ(text_of(value_of(without_retries->unwrap("kek", version, kAlgorithm, wrapped))), "content");
}

TEST_F(KmipServerPykmip, CallsOfSeveralThreadsDoNotMix) {
  const std::string version = make("kek");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, content = "content of thread " + std::to_string(i)] {
      for (int round = 0; round < 3; ++round) {
        const Bytes wrapped = value_of(vault_->wrap("kek", version, bytes_of(content)));
        EXPECT_EQ(text_of(value_of(vault_->unwrap("kek", version, kAlgorithm, wrapped))), content);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace vaultfs
