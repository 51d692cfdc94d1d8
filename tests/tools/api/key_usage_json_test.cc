#include "tools/api/key_usage_json.h"

#include <gtest/gtest.h>

namespace vaultfs {
namespace {

KeyUsage usage_of_two_versions() {
  KeyUsage usage{"0123456789abcdef0123456789abcdef", "/vaults/one", 3, 7, "system", true, {}};
  VersionRecord old;
  old.key_vault = "office";
  old.key = "backup";
  old.version = "1";
  old.role = VersionRole::retiring;
  old.role_since = UnixNanos{1'700'000'000 * kNanosPerSecond};
  old.took_effect = UnixNanos{1'600'000'000 * kNanosPerSecond};
  old.role_generation = Generation(6);
  old.first_epoch = EpochNumber(1);
  old.last_epoch = EpochNumber(2);
  old.backup_completed = true;
  old.disabled_too_early = true;
  old.since_uncertain = true;
  old.waiting_for = "a snapshot";
  VersionRecord platform;
  platform.version = "fedcba9876543210fedcba9876543210";
  platform.role = VersionRole::active;
  platform.first_epoch = EpochNumber(3);
  usage.versions = {old, platform};
  return usage;
}

// `key impact` tells of a version what the vault said of it, to the last member.
TEST(KeyUsageJson, IsReadBackAsItWas) {
  const KeyUsage usage = usage_of_two_versions();
  const nlohmann::json form = to_json(usage);
  const auto back = key_usage_from_json(form);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->versions, usage.versions);
  EXPECT_EQ(to_json(*back), form);
}

TEST(KeyUsageJson, WhatAnOlderOwnerDoesNotSayHasItsDefault) {
  const auto back = key_usage_from_json(
      {{"vault", "01"}, {"versions", {{{"version", "1"}, {"key", "office/backup"}, {"role", "Active"}}}}});
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->versions.front().name(), (VersionName{"1", "office", "backup"}));
  EXPECT_FALSE(back->follows_new_versions);
}

// A vault whose answer is not understood counts as one that can't be asked: nothing may be taken from it.
TEST(KeyUsageJson, WhatIsNotUnderstoodIsAnError) {
  using nlohmann::json;
  const json version{{"version", "1"}, {"key", "office/backup"}, {"role", "Active"}};
  const auto with = [&version](const char* member, const json& value) {
    json changed = version;
    changed[member] = value;
    return json{{"versions", json::array({changed})}};
  };
  for (const json& form :
       {json(), json("text"), json::object(), json{{"versions", json::array({json()})}}, with("role", "Sleeping"),
        with("role", 1), with("version", 5), with("key", nullptr), with("backup_completed", "yes")}) {
    EXPECT_EQ(key_usage_from_json(form).code(), ErrorCode::Internal) << form.dump();
  }
}

}  // namespace
}  // namespace vaultfs
