#include <gtest/gtest.h>

#include <optional>

#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/machine/recovery_file.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

TEST(VaultCreate, MakesAVaultThatOpens) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->header().id, created->id);
  EXPECT_EQ(world.vault->header().root_fingerprint, created->root_fingerprint);
  EXPECT_FALSE(world.vault->read_only());
  EXPECT_TRUE(world.vault->opening_notes().empty());
  const auto activity = world.vault->activity().entries();
  ASSERT_OK(activity);
  ASSERT_EQ(activity->size(), 1U);
  EXPECT_EQ(activity->front().operation, "vault.create");
  const auto registrations = world.machine_state->registrations();
  ASSERT_OK(registrations);
  ASSERT_EQ(registrations->size(), 1U);
  EXPECT_EQ(registrations->front().path, "/vault");
  ASSERT_OK(world.close());
}

TEST(VaultCreate, RegistersTheKeyOfACustomerManagedVault) {
  VaultWorld world;
  world.kv->add_version("kek");
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  const auto registrations = world.machine_state->registrations();
  ASSERT_OK(registrations);
  EXPECT_EQ(registrations->front().key_vault, "kv");
  EXPECT_EQ(registrations->front().key, "kek");
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
}

// So that nobody takes the key away from the vault while it is made.
TEST(VaultCreate, IsOnTheMachinesListBeforeItsKeyIsProven) {
  VaultWorld world;
  const std::string version = world.kv->add_version("kek");
  int calls = 0;
  world.kv->on_call = [&] {
    ++calls;
    const auto known = world.machine_state->registrations();
    ASSERT_OK(known);
    ASSERT_EQ(known->size(), 1U);
    EXPECT_EQ(known->front().key, "kek");
    EXPECT_FALSE(known->front().needed.has_value()) << "any version may be among them";
  };
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  EXPECT_GT(calls, 0);
  world.kv->on_call = nullptr;
  const auto known = world.machine_state->registrations();
  ASSERT_OK(known);
  EXPECT_EQ(known->front().needed, (std::vector<RegisteredKey>{{"kv", "kek", version}}));
  EXPECT_EQ(known->front().identity, "system");
  VaultWorld failing;
  failing.kv->add_version("kek");
  failing.kv->unwrap_other = true;
  EXPECT_FALSE(failing.create(VaultWorld::customer_managed_options()).ok());
  EXPECT_TRUE(failing.machine_state->registrations()->empty()) << "a failed creation leaves nothing";
}

TEST(VaultCreate, RefusesARegionThatItCouldNotReadBack) {
  VaultWorld world;
  VaultCreateOptions options = VaultWorld::create_options();
  for (const std::string& region : {std::string(65, 'r'), std::string("eu\n"), std::string("\x7f")}) {
    options.region = region;
    EXPECT_EQ(world.create(options).code(), ErrorCode::InvalidArgument);
    EXPECT_FALSE(world.env.exists("/vault"));
  }
  options.region = std::string(64, 'r');
  ASSERT_OK(world.create(options));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->header().region, options.region);
  ASSERT_OK(world.close());
}

// A vault that was moved, or that this machine forgot, is on its list again once its owner opens it.
TEST(VaultOpen, TheOwnerPutsTheVaultOnTheMachinesList) {
  VaultWorld world;
  const std::string version = world.kv->add_version("kek");
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  const Registration created = world.machine_state->registrations()->front();
  ASSERT_OK(world.env.rename("/vault", "/elsewhere"));
  const Registration before = world.machine_state->registrations()->front();
  VaultOpenOptions elsewhere;
  elsewhere.read_only = true;
  ASSERT_OK(world.open_at("/elsewhere", elsewhere));
  EXPECT_EQ(world.machine_state->registrations()->front(), before) << "a reader changes nothing";
  ASSERT_OK(world.open_at("/elsewhere"));
  Registration moved = created;
  moved.path = "/elsewhere";
  EXPECT_EQ(world.machine_state->registrations().value(), std::vector<Registration>{moved});
  EXPECT_EQ(world.files("/home/pins").size(), 1U) << "it took its pin along";
  ASSERT_OK(world.close());
  ASSERT_OK(world.env.rename("/elsewhere", "/vault"));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.machine_state->registrations()->front(), created);
  ASSERT_OK(world.close());
  ASSERT_OK(world.machine_state->forget_vault(created.vault));
  ASSERT_OK(world.open());
  ASSERT_EQ(world.machine_state->registrations()->size(), 1U);
  EXPECT_EQ(world.machine_state->registrations()->front(), created);
  ASSERT_OK(world.close());
}

TEST(VaultCreate, RefusesWhatIsNotEmptyOrNotSaid) {
  VaultWorld world;
  world.env.write("/full/x", {});
  VaultCreateOptions options = VaultWorld::create_options();
  options.path = "/full";
  EXPECT_EQ(world.create(options).code(), ErrorCode::VaultExists);
  options.path = "/full/x";
  EXPECT_EQ(world.create(options).code(), ErrorCode::VaultExists);
  EXPECT_TRUE(world.env.exists("/full/x"));
  options = VaultWorld::create_options();
  options.no_recovery = false;
  EXPECT_EQ(world.create(options).code(), ErrorCode::RecoveryChoiceRequired);
  options.recovery_file = "/recovery";
  EXPECT_EQ(world.create(options).code(), ErrorCode::PassphraseRequired);
  EXPECT_FALSE(world.env.exists("/vault"));
}

TEST(VaultCreate, WritesTheKeysThatAreBoundToTheMachineToARecoveryFile) {
  VaultWorld world;
  auto passphrase = SecretBuffer::copy_of(bytes_of("correct horse"));
  ASSERT_OK(passphrase);
  VaultCreateOptions options = VaultWorld::create_options();
  options.no_recovery = false;
  options.infrastructure_encryption = true;
  options.recovery_file = "/recovery";
  options.recovery_passphrase = &*passphrase;
  const auto created = world.create(options);
  ASSERT_OK(created);
  const auto keys = read_recovery_file(world.env, "/recovery", *passphrase);
  ASSERT_OK(keys);
  EXPECT_EQ(keys->vault, created->id);
  EXPECT_EQ(keys->platform_keys.size(), 2U);
  // A recovery file is never replaced, and a creation that fails late leaves nothing.
  VaultCreateOptions again = options;
  again.path = "/other";
  const auto before = world.files("/home");
  const Bytes recovery = world.env.read("/recovery");
  EXPECT_EQ(world.create(again).code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(world.env.read("/recovery"), recovery);
  EXPECT_FALSE(world.env.exists("/other"));
  EXPECT_EQ(world.files("/home"), before);
  // The second layer is really there: without its key nothing opens.
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  ASSERT_OK(world.close());
}

TEST(VaultCreate, AFailureAtAnyStepLeavesNothing) {
  VaultWorld world;
  const SimEnv::Snapshot empty = world.env.snapshot();
  std::uint64_t failures = 0;
  for (std::uint64_t writes = 1; writes < 100; ++writes) {
    world.env.restore(empty);
    world.start_machine("/home");
    // One write or sync fails, the ones after it work: the taking back has a working disk.
    std::uint64_t seen = 0;
    world.env.set_observer([&](SimStep kind, const Env::Path&) {
      if (kind == SimStep::write && ++seen == writes) world.env.fail_next_write(1, ErrorCode::NoSpace);
    });
    const auto created = world.create();
    world.env.set_observer(nullptr);
    if (seen < writes) break;
    if (created.ok()) continue;  // a hint in the lock file is not worth a failure
    ++failures;
    EXPECT_FALSE(world.env.exists("/vault")) << writes;
    EXPECT_TRUE(world.machine_state->registrations()->empty()) << writes;
    for (const Env::Path& path : world.env.files("/home")) {
      const std::string extension = path.extension().string();
      EXPECT_TRUE(extension != ".key" && extension != ".pin" && extension != ".json") << path;
    }
  }
  EXPECT_GE(failures, 6U);
}

TEST(VaultCreate, TakesNothingBackThatAnotherCreationHasMade) {
  VaultWorld world;
  std::optional<bool> other;
  // Between the look at the directory and its lock, the other one does all of its work.
  world.env.set_observer([&](SimStep kind, const Env::Path& path) {
    if (kind != SimStep::sync_directory || path != "/" || !world.env.exists("/vault") || other.has_value()) return;
    other = false;
    other = world.create().ok();
  });
  const auto refused = world.create();
  world.env.set_observer(nullptr);
  ASSERT_EQ(other, true);
  EXPECT_EQ(refused.code(), ErrorCode::VaultExists);
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
  // One that is still at work keeps what it has made so far.
  world.env.make_directories("/second");
  const auto busy = world.env.lock("/second/vault.lock");
  ASSERT_OK(busy);
  VaultCreateOptions options = VaultWorld::create_options();
  options.path = "/second";
  EXPECT_FALSE(world.create(options).ok());
  EXPECT_TRUE(world.env.exists("/second/vault.lock"));
}

}  // namespace
}  // namespace vaultfs
