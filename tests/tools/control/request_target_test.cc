#include "tools/control/request_target.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/assert_ok.h"
#include "tests/support/scratch_directory.h"
#include "tools/control/socket_path.h"
#include "tools/machine.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// A machine with two vaults, the first of them open.
class RequestTargetTest : public testing::Test {
 protected:
  void SetUp() override {
    auto machine = Machine::open({scratch_ / "home", {}, -1, false});
    ASSERT_OK(machine);
    machine_ = std::move(*machine);
    for (const char* name : {"one", "two"}) {
      VaultCreateOptions options;
      options.path = scratch_ / name;
      options.no_recovery = true;
      ASSERT_OK(Vault::create(machine_->for_vault(), options));
    }
    VaultOpenOptions options;
    options.path = scratch_ / "one";
    auto opened = Vault::open(machine_->for_vault(), options, tree_);
    ASSERT_OK(opened);
    vault_ = std::move(*opened);
  }
  // As a client sees what lies there.
  [[nodiscard]] json target(const std::string& name) {
    VaultDirectory directory(posix_env(), scratch_ / name);
    EXPECT_TRUE(directory.open().ok());
    auto made = request_target(directory);
    EXPECT_TRUE(made.ok());
    return made.ok() ? *made : json();
  }
  [[nodiscard]] ErrorCode check(const json& target) {
    const Status checked = check_request_target({{"verb", "verify"}, {"vault", target}}, *vault_);
    return checked.ok() ? ErrorCode::Internal : checked.code();
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Machine> machine_;
  TreeLeftAlone tree_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(RequestTargetTest, IsOfTheVaultThatIsOpen) {
  EXPECT_EQ(check(target("one")), ErrorCode::Internal);
  EXPECT_EQ(check(target("two")), ErrorCode::AnotherVault);
  EXPECT_EQ(check(nullptr), ErrorCode::Usage);
  json mixed = target("one");
  mixed["directory"] = target("two")["directory"];
  EXPECT_EQ(check(mixed), ErrorCode::AnotherVault) << "a copy";
  for (const char* name : {"id", "root_fingerprint"}) {
    mixed = target("one");
    mixed[name] = target("two")[name];
    EXPECT_EQ(check(mixed), ErrorCode::AnotherVault) << name;
  }
  std::ofstream(scratch_ / "one" / "vault.header") << "damaged";
  EXPECT_FALSE(target("one").contains("id"));
  EXPECT_EQ(check(target("one")), ErrorCode::Internal) << "it is that directory, and somebody wants it verified";
}

TEST_F(RequestTargetTest, AVaultThatHasLostItsPlaceDoesNothing) {
  const json before = target("one");
  std::filesystem::rename(scratch_ / "one", scratch_ / "aside");
  EXPECT_EQ(check(before), ErrorCode::AnotherVault);
  std::filesystem::rename(scratch_ / "two", scratch_ / "one");
  EXPECT_EQ(check(before), ErrorCode::AnotherVault);
  EXPECT_EQ(check(target("one")), ErrorCode::AnotherVault);
  std::filesystem::rename(scratch_ / "one", scratch_ / "two");
  std::filesystem::rename(scratch_ / "aside", scratch_ / "one");
  EXPECT_EQ(check(before), ErrorCode::Internal);
}

TEST_F(RequestTargetTest, ALockOfAnotherVaultLeadsToNoOwner) {
  ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run").c_str(), 1);
  ASSERT_OK(control_socket_name(scratch_ / "two"));
  const auto lock = scratch_ / "two" / "vault.lock";
  std::filesystem::remove(lock);
  std::filesystem::create_symlink(scratch_ / "one" / "vault.lock", lock);
  EXPECT_EQ(control_socket_name(scratch_ / "two").code(), ErrorCode::ForeignFile);
  std::filesystem::remove(lock);
  std::filesystem::create_hard_link(scratch_ / "one" / "vault.lock", lock);
  EXPECT_EQ(control_socket_name(scratch_ / "two").code(), ErrorCode::ForeignFile);
  ::unsetenv("VAULTFS_RUNTIME_DIR");
}

}  // namespace
}  // namespace vaultfs
