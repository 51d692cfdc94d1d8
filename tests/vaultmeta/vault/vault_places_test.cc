// A vault is the directory that was opened, wherever it is by now, and not what has its path.
#include <gtest/gtest.h>

#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/vault/key_drill.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/vault.h"

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

// A world with a vault under kv/kek and room for its copies.
class CopiedVault : public testing::Test {
 protected:
  void SetUp() override {
    version_ = world_.kv->add_version("kek");
    ASSERT_OK(world_.create(VaultWorld::customer_managed_options()));
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "a"));
    ASSERT_OK(world_.close());
  }
  void copy(const Env::Path& from, const Env::Path& to) {
    world_.env.make_directories(to);
    for (const Env::Path& path : world_.env.files(from)) world_.env.copy(path, to / path.lexically_relative(from));
    const auto names = world_.env.list(from).value();
    for (const std::string& name : names) {
      if (world_.env.info(from / name)->kind == FileKind::directory) world_.env.make_directories(to / name);
    }
  }
  Status back_up_at(const Env::Path& path, const std::string& item) {
    VAULTFS_RETURN_IF_ERROR(world_.open_at(path));
    VAULTFS_RETURN_IF_ERROR(world_.back_up(item, "b"));
    return world_.close();
  }
  [[nodiscard]] std::vector<Registration> registered() { return world_.machine_state->registrations().value(); }
  [[nodiscard]] VaultId id() { return look_at_vault_header(world_.env, "/vault")->id; }
  // Of a vault of one epoch.
  [[nodiscard]] VaultFingerprint fingerprint(const Env::Path& path) {
    return {EpochNumber(), look_at_vault_header(world_.env, path)->root_fingerprint};
  }

  VaultWorld world_;
  std::string version_;
};

TEST_F(CopiedVault, ARehearsalOnACopyTakesNothingFromTheOriginal) {
  copy("/vault", "/copy");
  const Registration original = registered().front();
  ASSERT_OK(back_up_at("/copy", "rehearsed"));
  ASSERT_OK(back_up_at("/copy", "more"));
  // The copy follows a new version, and needs the old one no more; the original does.
  const std::string next = world_.kv->add_version("kek");
  ASSERT_OK(world_.open_at("/copy"));
  ASSERT_OK(world_.vault->custody().refresh());
  ASSERT_OK(world_.back_up("vm1", "c"));
  ASSERT_OK(world_.close());
  ASSERT_EQ(registered().size(), 2U);
  EXPECT_EQ(world_.machine_state->registration(id(), "/vault").value(), original);
  EXPECT_EQ(world_.machine_state->registration(id(), "/copy").value()->needed,
            (std::vector<RegisteredKey>{{"kv", "kek", next}}));
  ASSERT_OK(back_up_at("/vault", "vm2"));
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=a", "vm2=b"}));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open_at("/copy"));
  EXPECT_EQ(world_.points(), (Texts{"vm1=a", "rehearsed=b", "more=b", "vm1=c"}));
  ASSERT_OK(world_.close());
}

TEST_F(CopiedVault, AnOlderCopyIsToldAndTrustedByName) {
  copy("/vault", "/copy");
  ASSERT_OK(back_up_at("/vault", "vm2"));
  EXPECT_EQ(code_of(world_.open_at("/copy")), ErrorCode::RollbackDetected);
  const auto files = world_.files("/home/pins");
  const auto trusted = trust_vault(world_.machine(), "/copy", fingerprint("/copy"), false);
  ASSERT_OK(trusted);
  ASSERT_OK(back_up_at("/copy", "rehearsed"));
  for (const auto& [path, bytes] : files) EXPECT_EQ(world_.env.read(path), bytes) << "the original's pin";
  ASSERT_OK(back_up_at("/vault", "vm3"));
}

// Each in the other's place, though both are of this machine and of the same root key.
TEST_F(CopiedVault, TheOriginalAndItsCopyDoNotStandForEachOther) {
  copy("/vault", "/copy");
  ASSERT_OK(back_up_at("/copy", "x"));
  ASSERT_OK(back_up_at("/vault", "y"));
  ASSERT_OK(world_.env.rename("/vault", "/aside"));
  ASSERT_OK(world_.env.rename("/copy", "/vault"));
  ASSERT_OK(world_.env.rename("/aside", "/copy"));
  EXPECT_EQ(code_of(world_.open_at("/vault")), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world_.open_at("/copy")), ErrorCode::RollbackDetected);
}

TEST_F(CopiedVault, AnotherVaultInThePlaceOfOneIsRefusedUntilItIsTrustedThere) {
  VaultCreateOptions options = VaultWorld::create_options();
  options.path = "/second";
  ASSERT_OK(Vault::create(world_.machine(), options));
  ASSERT_OK(world_.env.rename("/vault", "/first"));
  ASSERT_OK(world_.env.rename("/second", "/vault"));
  const auto before = world_.files("/vault");
  EXPECT_EQ(code_of(world_.open()), ErrorCode::AnotherVault);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::AnotherVault);
  EXPECT_EQ(drill_vault(world_.machine(), "/vault").code(), ErrorCode::AnotherVault);
  EXPECT_EQ(world_.files("/vault"), before);
  ASSERT_OK(trust_vault(world_.machine(), "/vault", fingerprint("/vault"), false));
  ASSERT_OK(back_up_at("/vault", "vm"));
  // And the one that was there before comes back: disks that take turns.
  ASSERT_OK(world_.env.rename("/vault", "/second"));
  ASSERT_OK(world_.env.rename("/first", "/vault"));
  ASSERT_OK(back_up_at("/vault", "vm2"));
  ASSERT_OK(world_.env.rename("/vault", "/first"));
  ASSERT_OK(world_.env.rename("/second", "/vault"));
  ASSERT_OK(back_up_at("/vault", "vm3"));
}

TEST_F(CopiedVault, AStateOfAnOlderVaultfsIsCarriedOverByTheOriginal) {
  // As a vaultfs without places would have left it.
  for (const char* folder : {"pins", "vaults"}) {
    const Env::Path file = world_.env.files(Env::Path("/home") / folder).front();
    const Env::Path old = file.parent_path() / (to_hex(id().view()) + file.extension().string());
    world_.env.copy(file, old);
    world_.env.remove(file);
  }
  copy("/vault", "/copy");
  ASSERT_OK(back_up_at("/copy", "rehearsed"));
  ASSERT_OK(back_up_at("/vault", "vm2"));
  EXPECT_EQ(registered().size(), 2U);
  EXPECT_EQ(world_.env.files("/home/pins").size(), 2U);
  EXPECT_FALSE(world_.env.exists("/home/pins/" + to_hex(id().view()) + ".pin"));
}

}  // namespace
}  // namespace vaultfs
