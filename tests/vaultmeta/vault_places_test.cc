// A vault is the directory that was opened, wherever it is by now, and not what has its path.
#include <gtest/gtest.h>

#include "tests/vaultmeta/vault_world.h"
#include "vaultmeta/vault.h"
#include "vaultmeta/vault_directory.h"

namespace vaultfs {
namespace {

TEST(VaultPlace, AnOpenVaultIsNotDivertedWhenAnotherTakesItsPlace) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "before"));
  ASSERT_OK(world.env.make_directory("/other"));
  for (const auto& [path, bytes] : world.files()) {
    world.env.write("/other" / path.lexically_relative("/vault"), bytes);
  }
  ASSERT_OK(world.env.rename("/vault", "/aside"));
  ASSERT_OK(world.env.rename("/other", "/vault"));
  const auto others = world.files("/vault");

  ASSERT_OK(world.write("not yet durable"));
  ASSERT_OK(world.back_up("vm2", "after"));
  ASSERT_OK(world.checkpoint());
  EXPECT_EQ(world.points(), (Texts{"vm1=before", "vm2=after"}));
  const auto report = verify_vault(world.env, "/vault", world.vault.get(), {});
  ASSERT_OK(report);
  EXPECT_TRUE(report->damage.empty());
  ASSERT_OK(world.close());
  EXPECT_EQ(world.files("/vault"), others) << "what has the path now was touched";

  ASSERT_OK(world.env.rename("/vault", "/other"));
  ASSERT_OK(world.env.rename("/aside", "/vault"));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), (Texts{"vm1=before", "vm2=after"}));
  ASSERT_OK(world.close());
}

TEST(VaultPlace, TellsWhetherThePathStillLeadsThere) {
  VaultWorld world;
  world.env.make_directories("/a");
  world.env.make_directories("/b");
  VaultDirectory directory(world.env, "/a/");
  ASSERT_OK(directory.open());
  EXPECT_EQ(directory.place(), "/a");
  ASSERT_OK(directory.check_place());
  ASSERT_OK(world.env.rename("/a", "/c"));
  EXPECT_EQ(code_of(directory.check_place()), ErrorCode::AnotherVault);
  ASSERT_OK(world.env.rename("/b", "/a"));
  EXPECT_EQ(code_of(directory.check_place()), ErrorCode::AnotherVault);
  world.env.write("/file", {});
  EXPECT_EQ(code_of(VaultDirectory(world.env, "/file").open()), ErrorCode::NotAVault);
  EXPECT_EQ(code_of(VaultDirectory(world.env, "/none").open()), ErrorCode::VaultNotFound);
}

TEST(VaultPlace, AFailedCreationTakesBackOnlyWhatItMade) {
  VaultWorld world;
  bool placed = false;
  world.env.set_observer([&](SimStep kind, const Env::Path& path) {
    if (placed || kind != SimStep::rename || !path.string().starts_with("/vault/keyrings/")) return;
    // Meanwhile somebody has put a file into it, and another directory in the place of one that was made.
    placed = true;
    world.env.write("/vault/heads/a file of mine", {});
    ASSERT_OK(world.env.rename("/vault/index", "/vault/moved"));
    ASSERT_OK(world.env.make_directory("/vault/index"));
    world.env.fail_next_sync(1);
  });
  EXPECT_FALSE(world.create().ok());
  world.env.set_observer(nullptr);
  ASSERT_TRUE(placed);
  EXPECT_EQ(world.env.files("/vault"), std::vector<Env::Path>{"/vault/heads/a file of mine"});
  EXPECT_EQ(world.env.list("/vault").value(), (Texts{"heads", "index", "moved"}));
  EXPECT_TRUE(world.machine_state->registrations()->empty());
}

TEST(VaultPlace, AFailedCreationLeavesAnotherDirectoryInItsPlaceAlone) {
  VaultWorld world;
  bool moved = false;
  world.env.set_observer([&](SimStep kind, const Env::Path& path) {
    if (moved || kind != SimStep::rename || !path.string().starts_with("/vault/keyrings/")) return;
    moved = true;
    ASSERT_OK(world.env.rename("/vault", "/aside"));
    world.env.write("/vault/heads/1", {});
    ASSERT_OK(world.env.make_directory("/vault/index"));
    world.env.fail_next_sync(1);
  });
  EXPECT_FALSE(world.create().ok());
  world.env.set_observer(nullptr);
  ASSERT_TRUE(moved);
  EXPECT_EQ(world.env.list("/vault").value(), (Texts{"heads", "index"}));
  EXPECT_EQ(world.env.list("/vault/heads").value(), Texts{"1"});
  EXPECT_TRUE(world.env.list("/aside").value().empty()) << "what it made is gone, wherever it was moved to";
}

}  // namespace
}  // namespace vaultfs
