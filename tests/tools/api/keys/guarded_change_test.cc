#include "tools/api/keys/guarded_change.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "tests/support/scratch_directory.h"
#include "tools/vaultctl/command_context.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// A machine with the key vault "office", its key "backup" and a vault under it, and a change that is counted.
class GuardedChangeTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run").c_str(), 1);
    context_.machine_options.home = home();
    auto machine = context_.machine();
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = *machine;
    ASSERT_TRUE(machine_->key_vaults().create("office", {}, nullptr).ok());
    auto key_vault = machine_->key_vaults().open("office");
    ASSERT_TRUE(key_vault.ok());
    key_vault_ = std::move(*key_vault);
    ASSERT_TRUE(key_vault_->create_key("backup", {2048, std::nullopt, std::nullopt}).ok());
    VaultCreateOptions options;
    options.path = scratch_ / "vault";
    options.key = KeyRef{"office", "backup", std::nullopt};
    const auto created = Vault::create(machine_->for_vault(), options);
    ASSERT_TRUE(created.ok()) << created.error().message;
    id_ = created->id;
    asked_.registrations = *machine_->state().registrations();
    auto needs = who_needs_key(*context_.machine_context(), *options.key);
    ASSERT_TRUE(needs.ok() && needs->size() == 1);
    asked_.asked = std::move(*needs);

    change_.operation = "key.disable";
    change_.subject = "office/backup/1";
    change_.activity_subject = "1";
    change_.key_vault = key_vault_.get();
    change_.change = [this] {
      ++done_;
      return while_it_is_done_ ? while_it_is_done_() : ok_status();
    };
    change_.undo = [this] {
      ++undone_;
      return ok_status();
    };
  }
  void TearDown() override { ::unsetenv("VAULTFS_RUNTIME_DIR"); }

  [[nodiscard]] std::filesystem::path home() const { return scratch_ / "home"; }
  [[nodiscard]] Result<Withdrawn> run() { return change_unless_needed(*context_.machine_context(), asked_, change_); }
  // As a vault does that takes a version up.
  Status put_on_the_list() {
    return machine_->state().change_registration(id_, scratch_ / "vault", [](Registration& registration) {
      registration.needed->push_back({"office", "backup", "00000000000000000000000000000001"});
    });
  }

  ScratchDirectory scratch_;
  CommandContext context_;
  Machine* machine_ = nullptr;
  std::unique_ptr<LocalKeyVault> key_vault_;
  VaultId id_;
  AskedVaults asked_;
  GuardedChange change_;
  std::function<Status()> while_it_is_done_;
  int done_ = 0;
  int undone_ = 0;
};

TEST_F(GuardedChangeTest, WhatNobodyNeedsIsDone) {
  const auto outcome = run();
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(*outcome, Withdrawn::done);
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(undone_, 0);
}

TEST_F(GuardedChangeTest, AVersionThatIsTakenUpMeanwhileIsGivenBack) {
  while_it_is_done_ = [this] { return put_on_the_list(); };
  EXPECT_EQ(run().code(), ErrorCode::TryAgain);
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(undone_, 1);
}

TEST_F(GuardedChangeTest, WhatCannotBeGivenBackSaysSo) {
  while_it_is_done_ = [this] { return put_on_the_list(); };
  change_.undo = [] { return Error{ErrorCode::KeyVaultUnavailable, "it does not answer"}; };
  const auto outcome = run();
  ASSERT_EQ(outcome.code(), ErrorCode::KeyVaultUnavailable);
  EXPECT_NE(outcome.error().message.find("taking it back failed"), std::string::npos) << outcome.error().message;
}

TEST_F(GuardedChangeTest, AListThatChangedSinceTheVaultsWereAskedStopsIt) {
  ASSERT_TRUE(put_on_the_list().ok());
  EXPECT_EQ(run().code(), ErrorCode::TryAgain);
  EXPECT_EQ(done_, 0);
}

TEST_F(GuardedChangeTest, AKeyringThatChangedSinceItsVaultWasAskedStopsIt) {
  --asked_.asked.front().keyring_generation;
  EXPECT_EQ(run().code(), ErrorCode::TryAgain);
  EXPECT_EQ(done_, 0);
  asked_.asked.front().reachable = false;  // then there is nothing to compare with
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(done_, 1);
}

TEST_F(GuardedChangeTest, WhatIsNeededIsRefusedAndOverriddenByNameOnly) {
  asked_.needing = asked_.asked;
  const auto refused = run();
  ASSERT_TRUE(refused.ok()) << refused.error().message;
  EXPECT_EQ(*refused, Withdrawn::refused);
  EXPECT_EQ(done_, 0);
  EXPECT_EQ(machine_->state().audit_entries()->back().what, "key.disable.refused");
  change_.although_needed = true;
  const auto outcome = run();
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_EQ(*outcome, Withdrawn::done_although_needed);
  EXPECT_EQ(done_, 1);
}

// Afterwards nobody may be able to write it down any more.
TEST_F(GuardedChangeTest, WithoutItsRecordNothingIsDone) {
  std::filesystem::remove(home() / "audit.log");
  std::filesystem::create_directory(home() / "audit.log");
  EXPECT_FALSE(run().ok());
  asked_.needing = asked_.asked;
  change_.although_needed = true;
  EXPECT_FALSE(run().ok());
  EXPECT_EQ(done_, 0);
}

}  // namespace
}  // namespace vaultfs
