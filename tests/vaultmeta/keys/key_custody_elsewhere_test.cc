// A key version that is looked for outside its own key vault, and drills, which say by which versions a vault opens.
#include <gtest/gtest.h>

#include "tests/support/custody_world.h"
#include "vaultmeta/keys/kek_access.h"

namespace vaultfs {
namespace {

TEST(KeyCustodyElsewhereTest, AnotherKeysVersionOfThatNameIsNoDamage) {
  CustodyWorld world;
  world.create();
  auto here = std::make_shared<FakeKeyVault>("here", world.env.clock());
  const std::string other = here->add_version("other");
  here->info("other", other).id = world.v1;
  world.resolver.add(here);
  world.resolver.places[world.v1] = {"here", "other"};
  world.kv->remove_key("kek");
  EXPECT_EQ(world.open().code(), ErrorCode::KeyRevoked) << "the key is gone; nothing is damaged";
  world.resolver.forget("kv");
  EXPECT_EQ(world.open().code(), ErrorCode::KeyVaultUnavailable);
}

TEST(KeyCustodyElsewhereTest, ADrillTellsOfEachVersionByItself) {
  CustodyWorld world;
  world.create();
  const std::string v2 = world.kv->add_version("kek");
  ASSERT_TRUE(world.custody->refresh().ok());
  const Generation before = world.custody->generation();
  const auto drill = [&] {
    std::map<std::string, std::optional<ErrorCode>> outcome;
    const auto drills = world.custody->drill();
    EXPECT_TRUE(drills.ok());
    if (!drills.ok()) return outcome;
    for (const KeyDrill& one : *drills) {
      outcome[one.version] = one.failure ? std::optional(one.failure->code) : std::nullopt;
    }
    return outcome;
  };
  using Outcome = std::map<std::string, std::optional<ErrorCode>>;
  EXPECT_EQ(drill(), (Outcome{{world.v1, {}}, {v2, {}}}));
  world.kv->info("kek", world.v1).enabled = false;
  EXPECT_EQ(drill(), (Outcome{{world.v1, ErrorCode::KeyVersionDisabled}, {v2, {}}}));
  world.kv->info("kek", world.v1).enabled = true;
  world.kv->unwrap_other = true;
  for (const auto& [version, failure] : drill()) EXPECT_TRUE(failure.has_value()) << version;
  world.kv->unwrap_other = false;
  EXPECT_EQ(world.custody->generation(), before) << "a drill changes nothing";
}

// What helps is said by the key vault: not each can enable what was revoked.
TEST(DescribeTrouble, SaysOfADisabledVersionWhatItsKeyVaultSays) {
  KeyringSlot active;
  active.key_vault = "hsm";
  active.key = "kek";
  active.version = "7";
  const Error told =
      describe_trouble({ErrorCode::KeyVersionDisabled, "it is Deactivated, and KMIP takes that never back"}, active);
  EXPECT_EQ(told.code, ErrorCode::KeyRevoked);
  EXPECT_NE(told.message.find("hsm/kek/7"), std::string::npos) << told.message;
  EXPECT_NE(told.message.find("KMIP takes that never back"), std::string::npos) << told.message;
  EXPECT_EQ(told.message.find("nable it"), std::string::npos) << told.message;
}

}  // namespace
}  // namespace vaultfs
