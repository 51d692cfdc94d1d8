#include "vaultmeta/vault/key_drill.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// A closed vault under two versions of kv/kek, `older` Retiring and `newer` Active.
class KeyDrillTest : public ::testing::Test {
 protected:
  using Outcome = std::vector<std::pair<std::string, std::optional<ErrorCode>>>;

  void SetUp() override {
    older_ = world_.kv->add_version("kek");
    VaultCreateOptions options = VaultWorld::create_options();
    options.key = KeyRef::parse("kv/kek").value();
    ASSERT_OK(world_.create(options));
    ASSERT_OK(world_.open());
    newer_ = world_.kv->add_version("kek");
    ASSERT_OK(world_.vault->custody().refresh());
    ASSERT_OK(world_.close());
  }
  Outcome drill() {
    Outcome outcome;
    const auto drills = drill_vault(world_.machine(), "/vault");
    EXPECT_TRUE(drills.ok());
    if (!drills.ok()) return outcome;
    for (const KeyDrill& one : *drills) {
      outcome.emplace_back(one.version, one.failure ? std::optional(one.failure->code) : std::nullopt);
    }
    return outcome;
  }

  VaultWorld world_;
  std::string older_, newer_;
};

TEST_F(KeyDrillTest, AVaultThatDoesNotOpenIsToldSlotBySlot) {
  EXPECT_EQ(drill(), (Outcome{{newer_, {}}, {older_, {}}}));
  const VaultWorld::Files before = world_.files();
  world_.kv->info("kek", newer_).enabled = false;
  ASSERT_EQ(world_.open_read_only().code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(drill(), (Outcome{{newer_, ErrorCode::KeyVersionDisabled}, {older_, {}}}));
  world_.kv->remove_version("kek", newer_);
  EXPECT_EQ(drill(), (Outcome{{newer_, ErrorCode::KeyVersionNotFound}, {older_, {}}}));
  world_.kv->outage = true;
  EXPECT_EQ(drill(), (Outcome{{newer_, ErrorCode::KeyVaultUnavailable}, {older_, ErrorCode::KeyVaultUnavailable}}));
  EXPECT_EQ(world_.files(), before);
}

TEST_F(KeyDrillTest, AMachineThatDoesNotKnowTheVaultProvesNothing) {
  world_.start_machine("/elsewhere");
  EXPECT_EQ(drill_vault(world_.machine(), "/vault").code(), ErrorCode::VaultUnverified);
  EXPECT_EQ(drill_vault(world_.machine(), "/none").code(), ErrorCode::VaultNotFound);
}

// Somebody's vault in the place of the one that this machine knows, under a key that opens both.
TEST_F(KeyDrillTest, AnotherRootKeyProvesNothing) {
  const Vault::Machine machine = world_.machine();
  const auto header = look_at_vault_header(machine.env, "/vault");
  ASSERT_OK(header);
  auto pin = machine.state.pin(header->id, "/vault");
  ASSERT_OK(pin);
  ASSERT_TRUE(pin->has_value());
  (*pin)->root_fingerprint.mutable_view()[0] ^= std::byte{1};
  ASSERT_OK(machine.state.set_pin(**pin, "/vault"));
  EXPECT_EQ(drill_vault(machine, "/vault").code(), ErrorCode::ForeignRootKey);
}

TEST(KeyDrillInfrastructureTest, WithoutTheSecondLayersKeyNothingOpens) {
  VaultWorld world;
  world.kv->add_version("kek");
  VaultCreateOptions options = VaultWorld::create_options();
  options.key = KeyRef::parse("kv/kek").value();
  options.infrastructure_encryption = true;
  ASSERT_OK(world.create(options));
  for (const auto& file : world.env.files("/home/platform-keys")) world.env.remove(file);
  const auto drills = drill_vault(world.machine(), "/vault");
  ASSERT_OK(drills);
  ASSERT_EQ(drills->size(), 1U);
  ASSERT_TRUE(drills->front().failure);
  EXPECT_EQ(drills->front().failure->code, ErrorCode::PlatformKeyMissing);
}

}  // namespace
}  // namespace vaultfs
