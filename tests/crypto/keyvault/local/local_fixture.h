#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "crypto/keyvault/local/local_key_vault.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/sim_env.h"

namespace vaultfs {

// Keys of 2048 bits wherever a test is not about sizes: the others take long to make.
inline KeyOptions small_key() { return {.bits = 2048, .not_before = {}, .expires = {}}; }

// A local key vault "local" in /kv of a simulated machine.
class LocalKeyVaultTest : public ::testing::Test {
 protected:
  LocalKeyVaultTest() { succeed(LocalKeyVault::create(env_, "/kv", "local", {}, nullptr)); }

  std::unique_ptr<LocalKeyVault> open() { return LocalKeyVault::open(env_, "/kv", "local", nullptr); }
  std::string key_text(const std::string& key = "kek") { return std::string(text_of(ByteView(env_.read(path(key))))); }
  void set_key_text(std::string_view text, const std::string& key = "kek") { env_.write(path(key), bytes_of(text)); }
  static Env::Path path(const std::string& key) { return "/kv/keys/" + key + ".json"; }
  static std::vector<std::string> ids(LocalKeyVault& vault, const std::string& key) {
    std::vector<std::string> out;
    for (const KeyVersionInfo& version : value_of(vault.list_versions(key))) out.push_back(version.id);
    return out;
  }

  SimEnv env_;
  std::unique_ptr<LocalKeyVault> vault_ = open();
};

inline constexpr std::string_view kOaep = "RSA-OAEP-256";

}  // namespace vaultfs
