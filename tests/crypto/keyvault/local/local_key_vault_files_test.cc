// What a local key vault makes of its files: edited by hand, damaged, missing, half written.

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "crypto/keyvault/local/key_file.h"
#include "crypto/keyvault/local/vault_file.h"
#include "crypto/memory/base64.h"
#include "crypto/rsa_key.h"
#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

using nlohmann::json;

class LocalKeyVaultFiles : public LocalKeyVaultTest {
 protected:
  LocalKeyVaultFiles() {
    first_ = value_of(vault_->create_key("kek", small_key())).id;
    second_ = value_of(vault_->rotate_key("kek", small_key(), true)).id;
    wrapped_ = value_of(vault_->wrap("kek", first_, bytes_of("content")));
  }
  Result<SecretBuffer> unwrap() { return vault_->unwrap("kek", first_, kOaep, wrapped_); }
  // Everything that reads the key file, and one that changes it.
  void expect_damaged(const std::string& what) {
    EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::DamagedMachineState, "/kv/keys/kek.json")) << what;
    EXPECT_TRUE(fails(vault_->wrap("kek", first_, bytes_of("x")), ErrorCode::DamagedMachineState)) << what;
    EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState)) << what;
    EXPECT_TRUE(fails(vault_->set_enabled("kek", first_, false), ErrorCode::DamagedMachineState)) << what;
  }

  std::string first_;
  std::string second_;
  Bytes wrapped_;
};

TEST_F(LocalKeyVaultFiles, HandEditedStateIsSeenAtTheNextCall) {
  std::string text = key_text();
  const std::string enabled = "\"enabled\": true";
  ASSERT_NE(text.find(enabled), std::string::npos);
  std::string edited = text;
  edited.replace(edited.find(enabled), enabled.size(), "\"enabled\": false");
  set_key_text(edited);
  EXPECT_TRUE(fails(unwrap(), ErrorCode::KeyVersionDisabled, first_));
  EXPECT_FALSE(value_of(vault_->list_versions("kek"))[0].enabled);
  set_key_text(text);
  EXPECT_TRUE(unwrap().ok());

  json state = json::parse(text);
  state["versions"][0]["exp"] = 5;
  state["versions"][1]["created"] = 5;
  set_key_text(state.dump());
  EXPECT_TRUE(fails(vault_->wrap("kek", first_, bytes_of("x")), ErrorCode::KeyVersionExpired));
  EXPECT_EQ(ids(*vault_, "kek"), (std::vector{second_, first_}));
  // nbf and exp may be left out.
  for (json& version : state["versions"]) {
    version.erase("nbf");
    version.erase("exp");
  }
  set_key_text(state.dump());
  EXPECT_TRUE(vault_->wrap("kek", first_, bytes_of("x")).ok());
}

TEST_F(LocalKeyVaultFiles, RemovedVersionAndRemovedKeyStopWorkingAtOnce) {
  ASSERT_TRUE(unwrap().ok());
  json state = json::parse(key_text());
  state["versions"].erase(0);
  set_key_text(state.dump());
  EXPECT_TRUE(fails(unwrap(), ErrorCode::KeyVersionNotFound));
  env_.remove(path("kek"));
  EXPECT_TRUE(fails(unwrap(), ErrorCode::KeyNotFound));
}

TEST_F(LocalKeyVaultFiles, EveryTruncationIsDamage) {
  const std::string text = key_text();
  // Without the newline at its end, and nothing else, the file is whole.
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_TRUE(fails(LocalKeyFile::decode(std::string_view(text).substr(0, size), "kek", "/kv/keys/kek.json"),
                      ErrorCode::DamagedMachineState, "/kv/keys/kek.json"))
        << size;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, text.size() / 2, text.size() - 2}) {
    set_key_text(text.substr(0, size));
    expect_damaged("cut to " + std::to_string(size));
  }
  set_key_text(text);
  EXPECT_TRUE(unwrap().ok());
}

// Every member of a key file replaced by every other kind of JSON value, and left out.
TEST_F(LocalKeyVaultFiles, WrongTypesAndMissingMembersAreDamage) {
  const json whole = json::parse(key_text());
  const std::vector<json> values{json(),
                                 json(true),
                                 json(-1),
                                 json(0),
                                 json(1.5),
                                 json("x"),
                                 json("?=="),
                                 json::array(),
                                 json::array({1}),
                                 json::object(),
                                 json(18446744073709551615ULL),
                                 json(1e300),
                                 json::array({json::array()})};
  const auto decode = [](const json& state) { return LocalKeyFile::decode(state.dump(), "kek", "kek.json"); };
  ASSERT_TRUE(decode(whole).ok());
  for (const auto& pointer : {"/format", "/key", "/versions", "/versions/0", "/versions/0/id", "/versions/0/created",
                              "/versions/0/enabled", "/versions/0/nbf", "/versions/0/exp", "/versions/0/bits",
                              "/versions/1/public_key", "/versions/1/private_key"}) {
    const json::json_pointer at(pointer);
    for (const json& value : values) {
      json changed = whole;
      if (changed[at].type() == value.type()) continue;  // another value of the right type
      const bool too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
      const bool time = at.back() == "created" || at.back() == "nbf" || at.back() == "exp";
      if (time && value.is_number_integer() && !too_large) continue;
      if ((at.back() == "nbf" || at.back() == "exp") && value.is_null()) continue;
      changed[at] = value;
      EXPECT_TRUE(fails(decode(changed), ErrorCode::DamagedMachineState, "kek.json")) << pointer << " = " << value;
    }
    if (at.back() == "nbf" || at.back() == "exp" || at.back() == "0") continue;
    json changed = whole;
    changed[at.parent_pointer()].erase(at.back());
    EXPECT_TRUE(fails(decode(changed), ErrorCode::DamagedMachineState, at.back())) << pointer << " left out";
  }
}

TEST_F(LocalKeyVaultFiles, ContradictionsAreDamage) {
  const json whole = json::parse(key_text());
  const auto with = [&](const auto& change) {
    json changed = whole;
    change(changed);
    set_key_text(changed.dump());
  };
  with([](json& s) { s["versions"].push_back(s["versions"][0]); });
  expect_damaged("a version listed twice");
  with([](json& s) { s["versions"] = json::array(); });
  expect_damaged("no version");
  with([](json& s) { s["key"] = "other"; });
  expect_damaged("another key's file");
  with([](json& s) { s["versions"][0]["public_key"] = s["versions"][1]["public_key"]; });
  expect_damaged("a public key under another's id");
  with([](json& s) { s["versions"][0]["bits"] = 1024; });
  expect_damaged("a size that is none");
  with([](json& s) { s["format"] = 0; });
  expect_damaged("an unknown format");
  set_key_text(std::string(100'000, '['));
  expect_damaged("deep nesting");
  set_key_text(std::string("\xff\xfe{}"));
  expect_damaged("no UTF-8");
  with([](json& s) { s["format"] = 2; });
  EXPECT_TRUE(fails(vault_->list_versions("kek"), ErrorCode::UnsupportedFormat, "kek.json"));
}

TEST_F(LocalKeyVaultFiles, EveryDamagedBitOfASealedPrivateKeyIsNoticed) {
  const json whole = json::parse(key_text());
  Bytes sealed;
  ASSERT_TRUE(from_base64(whole["versions"][0]["private_key"].get<std::string>(), sealed));
  for (std::size_t at = 0; at <= sealed.size(); at += 29) {
    json changed = whole;
    Bytes damaged = sealed;
    if (at < sealed.size()) damaged[at] ^= std::byte{1};
    damaged.resize(at < sealed.size() ? sealed.size() : sealed.size() - 1);
    changed["versions"][0]["private_key"] = to_base64(damaged);
    set_key_text(changed.dump());
    EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, first_)) << at;
    EXPECT_TRUE(vault_->wrap("kek", first_, bytes_of("x")).ok());
  }
  // A private key is bound to its version: another's, sealed under the same machine key, does not open in its place.
  json swapped = whole;
  swapped["versions"][0]["private_key"] = whole["versions"][1]["private_key"];
  set_key_text(swapped.dump());
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState));
  for (const std::size_t size : {0U, 1U, 64U, 79U, 80U}) {
    swapped["versions"][0]["private_key"] = to_base64(Bytes(size));
    set_key_text(swapped.dump());
    EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState)) << size;
  }
}

TEST_F(LocalKeyVaultFiles, PrivateKeysAreNotOnTheDiskInTheClear) {
  const SecretBuffer passphrase = secret("pass");
  const std::string pem = value_of(vault_->export_version("kek", &first_, passphrase));
  const auto key = value_of(RsaKey::from_pem(bytes_of(pem), &passphrase));
  const SecretBuffer der = value_of(key->private_der());
  // Some bytes of the private exponent, raw and as base64 whatever its alignment.
  const ByteView part = der.view().subspan(der.size() / 2, 48);
  for (const auto& file : env_.files("/kv")) {
    const Bytes content = env_.read(file);
    const std::string_view text = text_of(ByteView(content));
    EXPECT_EQ(text.find(text_of(part)), std::string_view::npos) << file;
    for (std::size_t shift = 0; shift < 3; ++shift) {
      EXPECT_EQ(text.find(to_base64(part.subspan(shift, 30))), std::string_view::npos) << file;
    }
  }
}

TEST_F(LocalKeyVaultFiles, MissingPiecesHaveTheirOwnNames) {
  env_.remove("/kv/machine.key");
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, "/kv/machine.key"));
  EXPECT_TRUE(fails(vault_->rotate_key("kek", small_key(), true), ErrorCode::DamagedMachineState));
  EXPECT_TRUE(vault_->wrap("kek", first_, bytes_of("x")).ok());
  env_.remove("/kv/keys");
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, "/kv/keys"));
  EXPECT_TRUE(fails(vault_->list_keys(), ErrorCode::DamagedMachineState));
  env_.remove("/kv/vault.json");
  EXPECT_TRUE(fails(vault_->properties(), ErrorCode::KeyVaultUnavailable, "local"));
  env_.remove("/kv");
  EXPECT_TRUE(fails(vault_->list_keys(), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(vault_->set_enabled("kek", first_, false), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(fails(vault_->create_key("k", small_key()), ErrorCode::KeyVaultUnavailable));
  EXPECT_FALSE(env_.exists("/kv"));
}

TEST_F(LocalKeyVaultFiles, ReplacedMachineKeyIsNamed) {
  succeed(LocalKeyVault::create(env_, "/kv2", "two", {}, nullptr));
  env_.copy("/kv2/machine.key", "/kv/machine.key");
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, "protection key was replaced"));
  env_.flip_bit("/kv/machine.key", 400);
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, "checksum"));
}

TEST_F(LocalKeyVaultFiles, UnreadableFileIsAnOutage) {
  env_.fail_reads(path("kek"));
  EXPECT_TRUE(fails(unwrap(), ErrorCode::KeyVaultUnavailable));
  env_.clear_faults();
  EXPECT_TRUE(unwrap().ok());
}

TEST_F(LocalKeyVaultFiles, VaultFileIsCheckedLikeAKeyFile) {
  const Bytes bytes = env_.read("/kv/vault.json");
  const std::string text(text_of(ByteView(bytes)));
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_TRUE(
        fails(LocalVaultFile::decode(text.substr(0, size), "local", "vault.json"), ErrorCode::DamagedMachineState));
  }
  const json whole = json::parse(text);
  for (const auto& item : whole.items()) {
    json changed = whole;
    changed[item.key()] = item.key() == "access" ? json::object() : json::array();  // an empty list lets nobody in
    EXPECT_TRUE(
        fails(LocalVaultFile::decode(changed.dump(), "local", "v"), ErrorCode::DamagedMachineState, item.key()));
    if (item.key() == "access" || item.key() == "retention_days") continue;  // older files have none
    changed.erase(item.key());
    EXPECT_TRUE(
        fails(LocalVaultFile::decode(changed.dump(), "local", "v"), ErrorCode::DamagedMachineState, item.key()));
  }
  env_.write("/kv/vault.json", bytes_of("{}"));
  EXPECT_TRUE(fails(unwrap(), ErrorCode::DamagedMachineState, "/kv/vault.json"));
  EXPECT_TRUE(fails(vault_->properties(), ErrorCode::DamagedMachineState));
}

// A crash at any step of a rotation leaves the old versions or all three, never a damaged file; a rotation that has
// returned is there.
TEST_F(LocalKeyVaultFiles, CrashAtEveryStepLeavesTheOldFileOrTheNew) {
  const SimEnv::Snapshot before = env_.snapshot();
  for (std::uint64_t step = 0;; ++step) {
    ASSERT_LT(step, 50U);
    env_.restore(before);
    vault_ = open();
    env_.fail_after(step);
    const auto rotated = vault_->rotate_key("kek", small_key(), true);
    env_.crash(step, step % 2 == 0 ? CrashMode::drop_all_unsynced : CrashMode::random);
    vault_ = open();
    const std::vector<std::string> after = ids(*vault_, "kek");
    ASSERT_GE(after.size(), 2U) << step;
    EXPECT_EQ((std::vector(after.begin(), after.begin() + 2)), (std::vector{first_, second_})) << step;
    if (rotated.ok()) {
      EXPECT_EQ(after.size(), 3U);
    }
    EXPECT_EQ(text_of(value_of(unwrap())), "content") << step;
    // What the crash left is no obstacle.
    succeed(vault_->set_enabled("kek", second_, false));
    if (rotated.ok()) break;
  }
}

}  // namespace
}  // namespace vaultfs
