// What a machine remembers of a vault, and what heads, keyrings and manifests have to be for it: each rule by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/record/container.h"
#include "store/record/record.h"
#include "store/record/stream.h"
#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/keys/escrow_steps.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/rotation_rule.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/points/point_file.h"

namespace vaultfs {
namespace {

// --- The machine ---

class PinGuards : public ::testing::Test {
 protected:
  PinGuards() : state_(std::move(MachineState::open(env_, "/home")).value()) {}
  static Pin pin(std::uint64_t generation, std::uint64_t epoch = 1, int key = 1) {
    Pin made;
    made.vault.mutable_view()[0] = std::byte{0xab};
    made.root_fingerprint.mutable_view()[0] = std::byte{2};
    made.head_generation = Generation(generation);
    made.head_digest.mutable_view()[0] = static_cast<std::byte>(generation);
    made.incarnation = 1;
    made.fingerprint.epoch = EpochNumber(epoch);
    made.fingerprint.digest.mutable_view()[0] = static_cast<std::byte>(key);
    return made;
  }
  SimEnv env_;
  std::unique_ptr<MachineState> state_;
};

TEST_F(PinGuards, AnEpochHasOneDataKey) {
  ASSERT_OK(state_->set_pin(pin(5, 2, 1), "/vault"));
  EXPECT_EQ(state_->set_pin(pin(6, 2, 9), "/vault").code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(state_->set_pin(pin(6, 1, 1), "/vault").code(), ErrorCode::RollbackDetected);
  ASSERT_OK(state_->set_pin(pin(6, 3, 9), "/vault"));
}

TEST_F(PinGuards, WhatIsRemovedStaysSo) {
  ASSERT_OK(state_->set_pin(pin(5), "/vault"));
  ASSERT_OK(state_->remove_pin(pin(5).vault, "/vault"));
  env_.crash(1, CrashMode::drop_all_unsynced);
  state_ = std::move(MachineState::open(env_, "/home")).value();
  EXPECT_EQ(state_->pin(pin(5).vault, "/vault").value(), std::nullopt);
}

TEST_F(PinGuards, AMovedVaultsPinTakesNoNewersPlace) {
  const VaultId vault = pin(1).vault;
  ASSERT_OK(state_->set_pin(pin(5), "/old"));
  ASSERT_OK(state_->set_pin(pin(9), "/new"));
  ASSERT_OK(state_->move_vault(vault, "/old", "/new"));
  EXPECT_EQ(state_->pin(vault, "/new").value(), pin(9));
  ASSERT_OK(state_->set_pin(pin(12), "/old"));
  ASSERT_OK(state_->move_vault(vault, "/old", "/new"));
  EXPECT_EQ(state_->pin(vault, "/new").value(), pin(12));
}

// --- Accepting an older copy ---

class AcceptanceGuards : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto created = world_.create();
    ASSERT_OK(created);
    fingerprint_ = created->fingerprint;
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "old"));
    ASSERT_OK(world_.close());
    const auto older = world_.files();
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "new"));
    ASSERT_OK(world_.close());
    world_.put_back(older);
  }
  VaultWorld world_;
  VaultFingerprint fingerprint_;
};

// Between the acceptance and the next owner somebody runs the command once more.
TEST_F(AcceptanceGuards, ASecondTrustForgetsNoRestart) {
  ASSERT_OK(trust_vault(world_.machine(), "/vault", fingerprint_, true));
  const auto pin = trust_vault(world_.machine(), "/vault", fingerprint_, false);
  ASSERT_OK(pin);
  EXPECT_EQ(pin->restart_above, 1U);
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->custody().incarnation(), 2U);
}

TEST_F(AcceptanceGuards, AnAcceptanceThatCanNotBeWrittenLeavesThePin) {
  world_.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step == SimStep::remove && path.extension() == ".pin") world_.env.fail_next_write(1, ErrorCode::NoSpace);
  });
  EXPECT_FALSE(trust_vault(world_.machine(), "/vault", fingerprint_, true).ok());
  world_.env.set_observer({});
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected) << "the machine knows what it has seen";
}

// --- Heads ---

class HeadGuards : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.vault->write_head());
    blobs_ = make_directory_blob_store(world_.env, "/vault");
    auto heads = read_heads(*blobs_, custody());
    ASSERT_OK(heads);
    newest_ = heads->newest_first.front();
  }
  [[nodiscard]] KeyCustody& custody() { return world_.vault->custody(); }
  VaultWorld world_;
  std::unique_ptr<BlobStore> blobs_;
  Head::Signed newest_;
};

// Whoever once held a key version has the root key for ever: a head wants the data key of its epoch, too.
TEST_F(HeadGuards, AMacWantsBothKeys) {
  const auto root = custody().root_key_for("vaultfs/2 head mac");
  ASSERT_OK(root);
  const auto epoch = custody().keys().with_dek(newest_.head.epoch, [&](const EpochKeys::Epoch& key) {
    return hkdf_sha256(key.dek.view(), custody().keys().vault().view(), bytes_of("vaultfs/2 head epoch"),
                       Digest::kSize);
  });
  ASSERT_OK(epoch);
  const Bytes body = newest_.head.encode();
  EXPECT_EQ(newest_.mac, hmac_sha256(epoch->view(), {hmac_sha256(root->view(), {body}).view()}));
}

TEST_F(HeadGuards, AHeadIsOfTheNewestEpochOfItsKeyring) {
  ASSERT_OK(custody().new_epoch());
  Head head = newest_.head;
  head.keyring_generation = custody().generation();
  head.keyring = custody().keyring_digest();
  head.epoch = EpochNumber(2);
  EXPECT_TRUE(check_keyring_against_head(custody(), head).ok());
  head.epoch = EpochNumber(1);
  EXPECT_EQ(check_keyring_against_head(custody(), head).code(), ErrorCode::DamagedHead);
  head.epoch = EpochNumber(3);
  EXPECT_EQ(check_keyring_against_head(custody(), head).code(), ErrorCode::DamagedHead);
}

TEST_F(HeadGuards, WhatANewerProgramKeepsUpIsNotWrittenOver) {
  Head head = newest_.head;
  head.generation = head.generation.next();
  head.predecessor = newest_.file_digest;
  head.features.read_only_compatible = 4;
  ASSERT_OK(put_head(*blobs_, custody(), head));
  world_.close_without_a_word();
  EXPECT_EQ(code_of(world_.open()), ErrorCode::UnsupportedFormat);
  ASSERT_OK(world_.open_read_only());
}

// --- Points ---

// A manifest of the same point by somebody who has a data key of its time, whole in itself.
TEST(PointGuards, AManifestIsTheOneThatTheCatalogueNames) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto point = world.back_up("vm1", "one");
  ASSERT_OK(point);
  auto manifest = world.vault->load_manifest(*point);
  ASSERT_OK(manifest);
  manifest->inodes[1].size = 1;
  const Bytes inventory = manifest->encode_inventory();
  const auto file = seal_stream(world.env, world.vault->keys(), ContainerKind::manifest,
                                ContainerNumber(point->number.value), manifest->encode(), ByteView(inventory));
  ASSERT_OK(file);
  world.env.write(Env::Path("/vault") / kPointFiles.file(point->number.value), *file);
  EXPECT_EQ(world.vault->load_manifest(*point).code(), ErrorCode::DamagedManifest);
}

TEST(PointGuards, ADamagedInventoryIsNone) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  const auto point = world.back_up("vm1", "one");
  ASSERT_OK(point);
  const Env::Path path = Env::Path("/vault") / kPointFiles.file(point->number.value);
  const auto inventory = [&] {
    const auto file = world.env.open(path, OpenMode::read_only);
    return read_clear_inventory(**file);
  };
  ASSERT_OK(inventory());
  world.env.flip_bit(path, 8 * (ContainerHeader::kEncodedBytes + RecordHeader::kEncodedBytes + 13));
  EXPECT_EQ(inventory().code(), ErrorCode::DamagedManifest);
}

// --- Key versions ---

KeyVersionInfo good_version() {
  KeyVersionInfo version;
  version.id = "v";
  version.key_type = "RSA";
  version.bits = 2048;
  version.enabled = true;
  return version;
}

TEST(VersionGuards, AVersionWrapsInItsTimeOnly) {
  KeyVersionInfo version = good_version();
  EXPECT_TRUE(check_may_wrap(version, 100).ok());
  version.not_before = 101;
  EXPECT_EQ(check_may_wrap(version, 100).code(), ErrorCode::KeyVersionNotYetValid);
  EXPECT_TRUE(check_may_wrap(version, 101).ok());
  version.expires = 102;
  EXPECT_TRUE(check_may_wrap(version, 101).ok());
  EXPECT_EQ(check_may_wrap(version, 102).code(), ErrorCode::KeyVersionExpired);
  version = good_version();
  version.enabled = false;
  EXPECT_EQ(check_may_wrap(version, 100).code(), ErrorCode::KeyVersionDisabled);
  version = good_version();
  version.bits = 1024;
  EXPECT_EQ(check_may_wrap(version, 100).code(), ErrorCode::KeySizeUnsupported);
}

// By a key vault that unwraps on although it lists the version as disabled.
TEST(VersionGuards, ADisabledVersionIsNotAsked) {
  CustodyWorld world;
  world.create();
  const ClosedKeyring closed = newest_closed(world);
  ReachedKey reached;
  reached.key_vault = world.kv;
  reached.key = "kek";
  KeyVersionInfo listed = good_version();
  listed.id = world.v1;
  reached.versions = {listed};
  EXPECT_TRUE(unwrap_slot_at(closed.vault, closed.active_slot(), reached).ok());
  reached.versions[0].enabled = false;
  const int unwraps = world.kv->unwraps;
  EXPECT_EQ(unwrap_slot_at(closed.vault, closed.active_slot(), reached).code(), ErrorCode::KeyVersionDisabled);
  EXPECT_EQ(world.kv->unwraps, unwraps);
}

// A crash may have set the LSN back between two rotations: the keyring has to be readable all the same.
TEST(VersionGuards, EffectsStayInOrderAfterALostTail) {
  const auto version = [](const char* name, std::uint64_t lsn) {
    VersionRecord record;
    record.version = name;
    record.took_effect_lsn = Lsn(lsn);
    record.first_epoch = EpochNumber(1);
    return record;
  };
  RotationRule rule;
  rule.start(version("v1", 100));
  ASSERT_OK(rule.take_effect(version("v2", 50), RotationRule::Moment{UnixNanos{5}, Generation(5)}));
  ByteWriter writer;
  rule.encode(writer, true);
  ByteReader reader(writer.view());
  const RotationRule back = RotationRule::decode(reader, true);
  EXPECT_FALSE(reader.failed());
  EXPECT_EQ(back.versions().size(), 2U);
}

// --- Keyrings ---

TEST(KeyringGuards, SlotsAndVersionsTellOneStory) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const Bytes file = world.env.read(world.keyring_files().back());
  const ClosedKeyring closed = newest_closed(world);
  const auto key = unwrap_by_escrow(closed.vault, closed.escrow, escrow_key());
  ASSERT_OK(key);
  auto keyring = open_keyring(file, *key);
  ASSERT_OK(keyring);
  ASSERT_OK(keyring->seal(*key));
  keyring->slots[0].version = "another version";
  EXPECT_EQ(keyring->seal(*key).code(), ErrorCode::InvalidArgument);
}

// Of several keyrings beyond a head each has to be the one that the next follows.
TEST(KeyringGuards, TheDescentIsFollowedFileByFile) {
  CustodyWorld world;
  world.create();
  const Generation first = world.custody->generation();
  const Digest digest = world.custody->keyring_digest();
  const Bytes first_file = world.env.read(world.keyring_files().back());
  ASSERT_OK(world.custody->rewrap(false));
  const Env::Path middle = world.keyring_files().back();
  const Bytes middle_file = world.env.read(middle);
  ASSERT_OK(world.custody->rewrap(false));
  world.env.write("/vault/" + keyring_blob_name(first), first_file);
  world.env.write(middle, middle_file);
  ASSERT_OK(world.custody->check_descends_from(first, digest));
  // One between that follows what somebody wants it to follow.
  Digest other = digest;
  other.mutable_view()[0] ^= std::byte{1};
  Bytes forged = middle_file;
  const auto at = std::search(forged.begin(), forged.end(), digest.view().begin(), digest.view().end());
  ASSERT_NE(at, forged.end());
  std::ranges::copy(other.view(), at);
  with_repaired_digest(world, middle, forged);
  EXPECT_EQ(world.custody->check_descends_from(first, other).code(), ErrorCode::RollbackDetected);
}

}  // namespace
}  // namespace vaultfs
