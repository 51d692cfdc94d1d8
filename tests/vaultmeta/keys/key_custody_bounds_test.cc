// What a change of keys leaves as it was, and what it takes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
  RecoveryWorld world;
  bool proven = false;
  world.spare->on_call = [&] {
    if (world.spare->wraps == 0 || std::exchange(proven, true)) return;
    EXPECT_THAT(world.needed(), Contains(world.recovered));
  };
  ASSERT_OK(recover_under_a_new_key(world));
  EXPECT_TRUE(proven);
}

// Else nobody could let go of the key vault that refused: the vault has no other key by which it would learn better.
TEST(KeyCustodyBounds, WhatARecoveryCouldNotProveIsNotNeeded) {
  RecoveryWorld world;
  for (const bool listed : {false, true}) {
    SCOPED_TRACE(listed);
    std::vector<RegisteredKey> before = world.first();
    if (listed) before.push_back(world.recovered);  // by an attempt whose keyring may be there
    ASSERT_OK(
        world.machine->change_registration(world.header.id, "/vault", [&](Registration& own) { own.needed = before; }));
    bool listed_then = false;
    world.spare->on_call = [&] {
      if (world.spare->wraps == 0) return;
      listed_then = std::ranges::count(world.needed(), world.recovered) != 0;
      world.spare->deny = true;
    };
    EXPECT_FALSE(recover_under_a_new_key(world).ok());
    EXPECT_TRUE(listed_then);
    EXPECT_EQ(world.needed(), before);
    world.spare->deny = false;
    world.spare->wraps = 0;
  }
}

TEST(KeyCustodyBounds, AVersionThatCouldNotTakeEffectIsNotNeeded) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_OK(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}));
  const RegisteredKey next{"kv", "kek", world.kv->add_version("kek")};
  world.kv->wraps = 0;
  bool listed_then = false;
  world.kv->on_call = [&] {
    if (world.kv->wraps != 0) listed_then = std::ranges::count(world.needed(), next) != 0;
  };
  world.kv->wrap_garbage = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  EXPECT_TRUE(listed_then);
  EXPECT_EQ(world.needed(), first);
}

TEST(KeyCustodyBounds, APlaceWhereARewrapCouldNotBeProvenIsNotNeeded) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_OK(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}));
  auto here = std::make_shared<FakeKeyVault>("here", world.env.clock());
  here->import_version("other", *world.kv, "kek", world.v1);
  world.resolver.add(here);
  world.resolver.places[world.v1] = {"here", "other"};
  world.kv->remove_key("kek");
  here->wrap_garbage = true;
  EXPECT_FALSE(world.custody->rewrap(false).ok());
  EXPECT_GT(here->wraps, 0);
  EXPECT_EQ(world.needed(), first);
  here->wrap_garbage = false;
  EXPECT_TRUE(world.custody->rewrap(false).ok());
  EXPECT_EQ(world.needed(), (std::vector<RegisteredKey>{{"here", "other", world.v1}}));
}

// A crash now opens by the keyring that could not be removed.
TEST(KeyCustodyBounds, WhatAKeyringOfUnknownFateWantsStaysNeeded) {
  CustodyWorld world;
  world.create();
  const std::vector<RegisteredKey> first{{"kv", "kek", world.v1}};
  ASSERT_OK(world.machine->register_vault({world.header.id, "/vault", "kv", "kek", first}));
  const RegisteredKey other{"kv", "other", world.kv->add_version("other")};
  auto stubborn = std::make_unique<StubbornBlobs>(std::move(world.blobs));
  StubbornBlobs& storage = *stubborn;
  world.close();
  world.blobs = std::move(stubborn);
  ASSERT_OK(world.open());
  storage.broken = true;
  EXPECT_FALSE(world.custody->set_key(KeyRef::parse("kv/other").value()).ok());
  EXPECT_THAT(world.needed(), Contains(other));
  storage.broken = false;
  world.close();
  ASSERT_OK(world.open());
  EXPECT_EQ(world.custody->status().settings.key, "other");
}

}  // namespace
}  // namespace vaultfs
