#include "tools/api/keys/vault_forget.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/support/scratch_directory.h"
#include "tools/machine.h"
#include "tools/vaultctl/command_context.h"
#include "vaultmeta/machine/registration_file.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// A machine and a platform-managed vault on it.
class VaultForgetTest : public testing::Test {
 protected:
  void SetUp() override {
    auto machine = Machine::open({scratch_ / "home", {}, -1, false});
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = std::move(*machine);
    id_ = make_vault();
  }
  VaultId make_vault() {
    VaultCreateOptions options;
    options.path = vault();
    options.no_recovery = true;
    const auto created = Vault::create(machine_->for_vault(), options);
    EXPECT_TRUE(created.ok()) << created.error().message;
    return created.ok() ? created->id : VaultId();
  }
  [[nodiscard]] std::filesystem::path vault() const { return scratch_ / "vault"; }
  [[nodiscard]] Result<ForgetChoice> choose(const std::string& name) {
    return choose_vault_to_forget(machine_->state(), machine_->env(), name);
  }
  // Another vault that was registered at the same path and is gone. Its id is that byte throughout: it comes before or
  // after every random one.
  VaultId register_gone(std::byte every) {
    Registration gone = *machine_->state().registration(id_, vault()).value();
    std::ranges::fill(gone.vault.mutable_view(), every);
    EXPECT_TRUE(machine_->state().register_vault(gone).ok());
    return gone.vault;
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Machine> machine_;
  VaultId id_;
};

TEST_F(VaultForgetTest, AVaultThatIsThereIsForgottenByOverrideOnly) {
  for (const std::string& name : {vault().string(), to_hex(id_.view())}) {
    const auto choice = choose(name);
    ASSERT_TRUE(choice.ok()) << choice.error().message;
    EXPECT_EQ(choice->vault, id_);
    ASSERT_TRUE(choice->refusal.has_value()) << name;
    EXPECT_EQ(choice->refusal->code, ErrorCode::VaultExists);
    EXPECT_NE(choice->refusal->message.find(to_hex(id_.view())), std::string::npos);
  }
}

// Whichever id comes first in the list: the one that is gone is meant.
TEST_F(VaultForgetTest, TheOneThatIsGoneIsMeantThoughAnotherLiesThereNow) {
  for (const std::byte every : {std::byte{0}, std::byte{0xff}}) {
    const VaultId gone = register_gone(every);
    ASSERT_NE(gone, id_);
    const auto choice = choose(vault());
    ASSERT_TRUE(choice.ok()) << choice.error().message;
    EXPECT_EQ(choice->vault, gone);
    EXPECT_FALSE(choice->refusal);
    ASSERT_TRUE(machine_->state().forget_vault(gone).ok());
  }
  register_gone(std::byte{0});
  register_gone(std::byte{0xff});
  EXPECT_EQ(choose(vault()).code(), ErrorCode::Usage) << "two are gone: name one by its id";
}

TEST_F(VaultForgetTest, AVaultThatIsGoneIsFoundByPathAndId) {
  std::filesystem::rename(vault(), scratch_ / "moved");
  for (const std::string& name : {vault().string(), to_hex(id_.view())}) {
    const auto choice = choose(name);
    ASSERT_TRUE(choice.ok()) << choice.error().message;
    EXPECT_EQ(choice->vault, id_);
    EXPECT_FALSE(choice->refusal);
  }
  // Where it is now it is still there, whatever the list says.
  const auto moved = choose(scratch_ / "moved");
  ASSERT_TRUE(moved.ok()) << moved.error().message;
  EXPECT_TRUE(moved->refusal.has_value());
  EXPECT_EQ(choose(scratch_ / "nowhere").code(), ErrorCode::VaultNotFound);
  EXPECT_EQ(choose(std::string(32, '0')).code(), ErrorCode::VaultNotFound);
}

TEST_F(VaultForgetTest, ADamagedRegistrationKeepsNoOtherFromBeingForgotten) {
  const VaultId other = register_gone(std::byte{0});
  std::filesystem::resize_file(scratch_ / "home" / "vaults" / state_file_name(other, vault(), ".json"), 3);
  EXPECT_EQ(choose(vault()).code(), ErrorCode::DamagedMachineState);
  EXPECT_EQ(choose(to_hex(id_.view()))->refusal->code, ErrorCode::VaultExists);
  std::filesystem::remove_all(vault());
  EXPECT_FALSE(choose(to_hex(id_.view()))->refusal);
  const auto damaged = choose(to_hex(other.view()));
  ASSERT_TRUE(damaged.ok());
  EXPECT_EQ(damaged->refusal->code, ErrorCode::DamagedMachineState) << "what can't be looked at wants an override";
}

// A copy that was rehearsed on and removed: by the vault's id it is that place that is meant, and the vault's own
// identity stays, by which its other place opens it.
TEST_F(VaultForgetTest, OfTwoPlacesTheOneThatIsGoneIsForgottenAndTheIdentityStays) {
  Registration copy = *machine_->state().registration(id_, vault()).value();
  copy.path = scratch_ / "copy";
  ASSERT_TRUE(machine_->state().register_vault(copy).ok());
  const auto choice = choose(to_hex(id_.view()));
  ASSERT_TRUE(choice.ok()) << choice.error().message;
  EXPECT_FALSE(choice->refusal);
  EXPECT_EQ(choice->places, std::vector<std::filesystem::path>{copy.path});

  CommandContext context;
  context.machine_options.home = scratch_ / "home";
  CLI::App app;
  add_forget_command(app, context);
  app.parse("forget " + to_hex(id_.view()));
  const auto outcome = context.run();
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  const auto left = machine_->state().registrations_of(id_);
  ASSERT_TRUE(left.ok());
  ASSERT_EQ(left->size(), 1U);
  EXPECT_EQ(left->front().path, vault());
  EXPECT_TRUE(machine_->identities().find(VaultIdentity{id_, std::string(kSystemIdentity)}).ok());

  std::filesystem::remove_all(vault());
  ASSERT_TRUE(context.run().ok());
  EXPECT_EQ(machine_->identities().find(VaultIdentity{id_, std::string(kSystemIdentity)}).code(),
            ErrorCode::IdentityNotFound);
}

}  // namespace
}  // namespace vaultfs
