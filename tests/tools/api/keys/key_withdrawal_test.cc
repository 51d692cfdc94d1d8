#include "tools/api/keys/key_withdrawal.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

// Vaults that answer as they were told to, as a front end without a command line asks them.
class ScriptedVaults final : public VaultContact {
 public:
  Result<KeyUsage> key_usage(const std::filesystem::path& vault) override {
    const auto found = answers.find(vault);
    if (found == answers.end()) return Error{ErrorCode::VaultNotFound, "it is not there"};
    return found->second;
  }
  Status record(const std::filesystem::path& vault, const ActivityEntry& entry) override {
    recorded.push_back(vault.string() + " " + entry.operation + " " + entry.outcome + " " + entry.subject);
    return can_record ? ok_status() : Status(Error{ErrorCode::ReadOnly, "it is closed"});
  }

  std::map<std::filesystem::path, KeyUsage> answers;
  std::vector<std::string> recorded;
  bool can_record = true;
};

// A machine with the key "backup" in the key vault "office", and a vault on its list that may need it.
class KeyWithdrawalTest : public testing::Test {
 protected:
  void SetUp() override {
    MachineOptions options;
    options.home = scratch_ / "home";
    auto machine = Machine::open(options);
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = std::move(*machine);
    ASSERT_TRUE(machine_->key_vaults().create("office", {}, nullptr).ok());
    auto key_vault = machine_->key_vaults().open("office");
    ASSERT_TRUE(key_vault.ok());
    key_vault_ = std::move(*key_vault);
    version_ = key_vault_->create_key("backup", {2048, std::nullopt, std::nullopt})->id;
    id_.mutable_view()[0] = std::byte{1};
    const std::vector<RegisteredKey> needed{{"office", "backup", version_}};
    ASSERT_TRUE(machine_->state().register_vault({id_, "/vaults/one", "office", "backup", needed}).ok());
    usage_.vault = to_hex(id_.view());
    usage_.recovery_points = 3;
    VersionRecord record;
    record.key_vault = "office";
    record.key = "backup";
    record.version = version_;
    usage_.versions = {record};
  }

  [[nodiscard]] Result<KeyWithdrawalAnswer> disable(bool although_needed = false) {
    if (answers_) vaults_.answers["/vaults/one"] = usage_;
    const KeyRef key{"office", "backup", version_};
    return withdraw_key(context(), {key, KeyWithdrawal::disable, although_needed});
  }
  [[nodiscard]] MachineContext context() {
    return {*machine_, vaults_, [this](const Notice& notice) { notices_.push_back(notice); }};
  }
  [[nodiscard]] bool is_enabled() const { return key_vault_->list_versions("backup")->front().enabled; }
  // What the answer says of the one vault that needs it; that it was refused.
  [[nodiscard]] WayOut way_out() {
    const auto answer = disable();
    EXPECT_TRUE(answer.ok()) << (answer.ok() ? "" : answer.error().message);
    if (!answer.ok() || answer->needing.size() != 1) {
      ADD_FAILURE() << "no vault needs it";
      return WayOut::another_key;
    }
    EXPECT_EQ(answer->outcome, Withdrawn::refused);
    EXPECT_TRUE(is_enabled());
    return answer->needing.front().way_out;
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<LocalKeyVault> key_vault_;
  std::string version_;
  VaultId id_;
  KeyUsage usage_;
  bool answers_ = true;
  ScriptedVaults vaults_;
  std::vector<Notice> notices_;
};

TEST_F(KeyWithdrawalTest, ARefusalNamesTheVaultAndItsWayOut) {
  EXPECT_EQ(way_out(), WayOut::another_version);
  const auto answer = disable();
  EXPECT_EQ(answer->needing.front().need.path, "/vaults/one");
  EXPECT_EQ(answer->needing.front().need.recovery_points, 3U);
  EXPECT_TRUE(vaults_.recorded.empty()) << "no vault is told of a refusal";
  EXPECT_EQ(machine_->state().audit_entries()->back().what, "key.disable.refused");
}

TEST_F(KeyWithdrawalTest, ARetiringVersionWaitsForABackupThenForARefresh) {
  usage_.versions.front().role = VersionRole::retiring;
  EXPECT_EQ(way_out(), WayOut::complete_backup);
  usage_.versions.front().backup_completed = true;
  EXPECT_EQ(way_out(), WayOut::refresh);
}

TEST_F(KeyWithdrawalTest, AVaultThatFollowsTheKeyHasToTakeUpTheNewerVersion) {
  ASSERT_TRUE(key_vault_->rotate_key("backup", {2048, std::nullopt, std::nullopt}, true).ok());
  EXPECT_EQ(way_out(), WayOut::another_version) << "it is pinned to the old one";
  usage_.follows_new_versions = true;
  EXPECT_EQ(way_out(), WayOut::refresh_then_backup);
}

TEST_F(KeyWithdrawalTest, AVaultThatCannotBeAskedNeedsIt) {
  answers_ = false;
  EXPECT_EQ(way_out(), WayOut::ask_again);
}

TEST_F(KeyWithdrawalTest, AKeyAsAWholeIsRefusedForAnyOfItsVersions) {
  vaults_.answers["/vaults/one"] = usage_;
  const auto answer = withdraw_key(context(), {{"office", "backup", std::nullopt}, KeyWithdrawal::remove, false});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->outcome, Withdrawn::refused);
  ASSERT_EQ(answer->needing.size(), 1U);
  EXPECT_EQ(answer->needing.front().way_out, WayOut::another_key);
}

TEST_F(KeyWithdrawalTest, AVersionIsDisabledAndAKeyIsDeleted) {
  const KeyRef key{"office", "backup", std::nullopt};
  EXPECT_EQ(withdraw_key(context(), {key, KeyWithdrawal::disable, false}).code(), ErrorCode::InvalidKeyRef);
  for (const KeyWithdrawal what : {KeyWithdrawal::remove, KeyWithdrawal::purge}) {
    EXPECT_EQ(withdraw_key(context(), {{"office", "backup", version_}, what, false}).code(), ErrorCode::InvalidKeyRef);
  }
  EXPECT_TRUE(is_enabled());
}

TEST_F(KeyWithdrawalTest, WhatIsConfirmedIsDoneAndEveryVaultIsTold) {
  vaults_.can_record = false;
  const auto answer = disable(true);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->outcome, Withdrawn::done_although_needed);
  EXPECT_FALSE(is_enabled());
  EXPECT_EQ(vaults_.recorded, (std::vector<std::string>{"/vaults/one key.disable.override Requested " + version_,
                                                        "/vaults/one key.disable.override Succeeded " + version_}));
  ASSERT_EQ(notices_.size(), 1U) << "it is told once that the vault's log does not have it";
  EXPECT_EQ(notices_.front().kind, Notice::Kind::not_in_activity_log);
  EXPECT_EQ(notices_.front().subject, "/vaults/one");
}

}  // namespace
}  // namespace vaultfs
