// What a change of keys leaves as it was, and what it takes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/vaultmeta/keys/escrow_steps.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {
namespace {

using ::testing::Contains;

std::optional<ContainerNumber> end_of(CustodyWorld& world, std::uint64_t epoch) {
  std::optional<ContainerNumber> end;
  const auto looked =
      world.custody->keys().with_dek(EpochNumber(epoch), [&end](const EpochKeys::Epoch& found) -> Result<bool> {
        end = found.last_segment;
        return true;
      });
  EXPECT_TRUE(looked.ok());
  return end;
}

void retire_the_active_one(CustodyWorld& world) {
  world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  refresh(world);
}

// Who has its key could bring segments of higher numbers otherwise, at every later rotation.
TEST(KeyCustodyBounds, AClosedEpochKeepsItsEnd) {
  CustodyWorld world;
  world.create();
  retire_the_active_one(world);
  ASSERT_EQ(end_of(world, 1), ContainerNumber(7));
  world.host->segment = ContainerNumber(20);
  retire_the_active_one(world);
  EXPECT_EQ(end_of(world, 1), ContainerNumber(7));
  EXPECT_EQ(end_of(world, 2), ContainerNumber(20));
  EXPECT_EQ(end_of(world, 3), std::nullopt);
}

// Removes nothing while it is told so, and gives back a keyring otherwise than it was written.
class StubbornBlobs final : public BlobStore {
 public:
  explicit StubbornBlobs(std::unique_ptr<BlobStore> inner) : inner_(std::move(inner)) {}
  Status put(const std::string& name, ByteView bytes) override { return inner_->put(name, bytes); }
  Result<Bytes> get(const std::string& name, std::uint64_t limit) override {
    auto bytes = inner_->get(name, limit);
    if (bytes.ok() && broken && name.starts_with("keyrings/")) bytes->back() ^= std::byte{1};
    return bytes;
  }
  Result<std::unique_ptr<File>> open(const std::string& name) override { return inner_->open(name); }
  Result<std::vector<std::string>> list(const std::string& folder) override { return inner_->list(folder); }
  Status remove(const std::string& name) override {
    return broken ? Status(Error{ErrorCode::IoError, "no"}) : inner_->remove(name);
  }
  Status set_aside(const std::string& name) override { return inner_->set_aside(name); }
  Status adopt(const Env::Path& local_file, const std::string& name) override {
    return inner_->adopt(local_file, name);
  }
  bool broken = false;

 private:
  std::unique_ptr<BlobStore> inner_;
};

// The keyring of a change that failed is there and could not be removed, and then the vault is sealed: its own keyring
// is what brings it back, not that one, whose change nobody was told of.
TEST(KeyCustodyBounds, AHealedVaultTakesBackWhatAFailedWriteLeft) {
  CustodyWorld world;
  world.create();
  auto stubborn = std::make_unique<StubbornBlobs>(std::move(world.blobs));
  StubbornBlobs& storage = *stubborn;
  world.close();
  world.blobs = std::move(stubborn);
  ASSERT_OK(world.open());
  const Generation before = world.custody->generation();
  storage.broken = true;
  EXPECT_FALSE(world.custody->rewrap(false).ok());
  storage.broken = false;
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(300);
  ASSERT_TRUE(world.custody->enforce_deadlines([] {}));
  world.kv->deny = false;
  refresh(world);
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
  EXPECT_EQ(world.custody->generation(), before);
}

TEST(KeyCustodyBounds, AnOutageMakesNoRefusalUndone) {
  CustodyWorld world;
  world.create();
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  EXPECT_EQ(world.custody->status().access, KeyAccess::denied);
  world.kv->deny = false;
  world.kv->outage = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  EXPECT_EQ(world.custody->status().access, KeyAccess::denied);
  world.kv->outage = false;
  refresh(world);
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
}

// Between the proof and the list somebody could disable it, whom the list told that nobody needs it.
TEST(KeyCustodyBounds, ARecoveredVaultsVersionIsListedBeforeItIsProven) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_OK(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}));
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  auto spare = std::make_shared<FakeKeyVault>("spare", world.env.clock());
  const std::string version = spare->add_version("new");
  world.resolver.add(spare);
  ASSERT_OK(open_to_recover(world));
  bool proven = false;
  spare->on_call = [&] {
    if (spare->wraps == 0 || std::exchange(proven, true)) return;
    EXPECT_THAT(world.machine->registrations()->front().needed.value(),
                Contains(RegisteredKey{"spare", "new", version}));
  };
  ASSERT_OK(recover_under_a_new_key(world));
  EXPECT_TRUE(proven);
}

// Else nobody could let go of the key vault that refused: the vault has no other key by which it would learn better.
TEST(KeyCustodyBounds, WhatARecoveryCouldNotProveIsNotNeeded) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_OK(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}));
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  auto spare = std::make_shared<FakeKeyVault>("spare", world.env.clock());
  const std::string version = spare->add_version("new");
  world.resolver.add(spare);
  ASSERT_OK(open_to_recover(world));
  for (const bool listed : {false, true}) {
    SCOPED_TRACE(listed);
    std::vector<RegisteredKey> before = first;
    if (listed) before.push_back({"spare", "new", version});  // by an attempt whose keyring may be there
    ASSERT_OK(
        world.machine->change_registration(world.header.id, "/vault", [&](Registration& own) { own.needed = before; }));
    bool listed_then = false;
    spare->on_call = [&] {
      if (spare->wraps == 0) return;
      const auto needed = world.machine->registrations()->front().needed.value();
      listed_then = std::ranges::find(needed, RegisteredKey{"spare", "new", version}) != needed.end();
      spare->deny = true;
    };
    EXPECT_FALSE(recover_under_a_new_key(world).ok());
    EXPECT_TRUE(listed_then);
    EXPECT_EQ(world.machine->registrations()->front().needed.value(), before);
    spare->deny = false;
    spare->wraps = 0;
  }
}

}  // namespace
}  // namespace vaultfs
