// What the holder of a retired key version makes of an old copy: he has the root key, the chunk-id key, the data keys
// of closed epochs and the public keys of all versions. His machine runs the stock program, which needs no more than
// that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/hash.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/machine/pin_file.h"

namespace vaultfs {
namespace {

using ::testing::ElementsAre;

class MintedVaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.kv->add_version("kek");
    const auto created = world_.create(VaultWorld::customer_managed_options());
    ASSERT_OK(created);
    root_ = created->root_fingerprint;
    first_ = created->fingerprint;
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm", "first"));
    ASSERT_OK(world_.close());
    old_copy_ = world_.files();
    world_.kv->add_version("kek");
    ASSERT_OK(retire("second"));
    genuine_ = world_.files();
    newest_ = fingerprint_at("/home");
    ASSERT_EQ(newest_.epoch, EpochNumber(2));
    ASSERT_NO_FATAL_FAILURE(mint());
    machine("/home");
    world_.put_back(genuine_);
  }

  // The newest key version takes effect, and a backup retires the one before: a new epoch.
  Status retire(const std::string& content) {
    VAULTFS_RETURN_IF_ERROR(world_.open());
    VAULTFS_RETURN_IF_ERROR(world_.vault->custody().refresh());
    VAULTFS_RETURN_IF_ERROR(world_.back_up("vm", content));
    return world_.close();
  }

  // From the old copy: a keyring under the public key of the newest version, heads, journal, points.
  void mint() {
    machine("/attacker");
    world_.put_back(old_copy_);
    ASSERT_OK(trust(first_));
    ASSERT_OK(retire("forged"));
    const VaultFingerprint his = fingerprint_at("/attacker");
    ASSERT_EQ(his.epoch, newest_.epoch);
    ASSERT_NE(his.digest, newest_.digest);
    minted_ = world_.files();
    ASSERT_OK(world_.open());
    for (int i = 0; i < 1030; ++i) ASSERT_OK(world_.vault->write_head());
    ASSERT_OK(world_.close());
    minted_long_ = world_.files();
  }

  void machine(const Env::Path& home) {
    world_.close_without_a_word();
    world_.start_machine(home);
  }
  VaultFingerprint fingerprint_at(const Env::Path& home) {
    machine(home);
    return world_.machine_state->pin(id(), "/vault")->value().fingerprint;
  }
  [[nodiscard]] VaultId id() const { return VaultHeader::decode(world_.env.read("/vault/vault.header"))->id; }
  Result<Pin> trust(const VaultFingerprint& kept, bool accept_older = false) {
    return trust_vault(world_.machine(), "/vault", kept, accept_older);
  }
  Status read_with(const VaultFingerprint& kept) {
    VaultOpenOptions options;
    options.read_only = true;
    options.fingerprint = kept;
    return world_.open(options);
  }

  VaultWorld world_;
  Digest root_;
  VaultFingerprint first_;
  VaultFingerprint newest_;
  VaultWorld::Files old_copy_;
  VaultWorld::Files genuine_;
  VaultWorld::Files minted_;
  VaultWorld::Files minted_long_;  // so many heads that none is left of the time of the old copy
};

TEST_F(MintedVaultTest, AMachineWithoutAPinRefusesItByTheNewestFingerprint) {
  machine("/new");
  for (const VaultWorld::Files* forged : {&minted_, &minted_long_, &old_copy_}) {
    world_.put_back(*forged);
    EXPECT_EQ(trust(newest_).code(), ErrorCode::FingerprintMismatch);
    EXPECT_EQ(trust(newest_, true).code(), ErrorCode::FingerprintMismatch);
    EXPECT_EQ(code_of(world_.open()), ErrorCode::VaultUnverified);
  }
  world_.put_back(minted_);
  EXPECT_EQ(trust({EpochNumber(0), root_}).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(trust(first_).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(trust(first_, true).code(), ErrorCode::FingerprintMismatch);
  world_.put_back(genuine_);
  ASSERT_OK(trust(newest_));
  ASSERT_OK(world_.open());
  EXPECT_THAT(world_.points(), ElementsAre("vm=first", "vm=second"));
}

TEST_F(MintedVaultTest, AnOlderFingerprintReadsAndSaysHowFarItSpeaks) {
  machine("/new");
  EXPECT_EQ(trust(first_).code(), ErrorCode::FingerprintMismatch);
  EXPECT_NE(trust(first_).error().message.find("genuine up to epoch 1; whoever held"), std::string::npos);
  ASSERT_OK(read_with(first_));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(),
                       "genuine up to epoch 1; whoever held a key version of then could have made what follows"));
  EXPECT_THAT(world_.points(), ElementsAre("vm=first", "vm=second"));
  ASSERT_OK(read_with({EpochNumber(0), root_}));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "unverified"));
  EXPECT_FALSE(mentions(world_.vault->opening_notes(), "genuine"));
  ASSERT_OK(read_with(newest_));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "newest epoch, 2"));
  world_.put_back(minted_);
  EXPECT_EQ(code_of(read_with(newest_)), ErrorCode::FingerprintMismatch);
  ASSERT_OK(read_with(first_));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "genuine up to epoch 1"));
  ASSERT_OK(world_.open_read_only(false, true));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "unverified"));
}

TEST_F(MintedVaultTest, AfterAnOutdatedPinTheNewestFingerprintIsAskedFor) {
  // A second machine knew the vault when the old copy was made.
  machine("/second");
  world_.put_back(old_copy_);
  ASSERT_OK(trust(first_));
  world_.put_back(minted_long_);
  // What follows its pin could be his, and it says so.
  ASSERT_OK(world_.open_read_only());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "genuine up to epoch 1; whoever held"));
  for (const Env::Path& file : world_.env.files("/vault/heads")) {
    if (file.extension() == ".pack") world_.env.remove(file);
  }
  const Status outdated = world_.open();
  ASSERT_EQ(code_of(outdated), ErrorCode::PinOutdated);
  EXPECT_EQ(outdated.error().message.find("genuine"), std::string::npos);
  const auto pins = world_.files("/second/pins");
  EXPECT_EQ(trust({EpochNumber(0), root_}).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(trust(first_).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(trust(newest_).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(world_.files("/second/pins"), pins);
}

TEST_F(MintedVaultTest, TheOwnersMachineNeverCallsItsPinOutdatedForIt) {
  world_.put_back(minted_long_);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust(first_).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust(newest_, true).code(), ErrorCode::FingerprintMismatch);
}

// The head that a machine has pinned lies in the vault for everybody to read: one that names it as its predecessor can
// be made by whoever has the root key.
TEST_F(MintedVaultTest, HeadsThatAreGraftedUponThePinnedOneAreNotItsContinuation) {
  const Pin pinned = world_.machine_state->pin(id(), "/vault")->value();
  machine("/attacker");
  world_.put_back(minted_long_);
  ASSERT_OK(world_.open_read_only());
  const auto heads = world_.env.files("/vault/heads");
  Head grafted = Head::decode(world_.env.read(heads.back()))->head;
  grafted.generation = pinned.head_generation.next();
  grafted.predecessor = pinned.head_digest;
  for (const Env::Path& head : heads) world_.env.remove(head);
  const auto blobs = make_directory_blob_store(world_.env, "/vault");
  ASSERT_OK(put_head(*blobs, world_.vault->custody(), grafted));
  machine("/home");
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(world_.machine_state->pin(id(), "/vault")->value(), pinned);
}

TEST_F(MintedVaultTest, AReaderThatLooksAgainTakesNoKeyringWithoutTheNewestDataKey) {
  ASSERT_OK(world_.open_read_only());
  const Generation here = world_.vault->custody().generation();
  auto reader = std::move(world_.vault);
  // The reader's machine goes on while the attacker's works.
  const auto state = std::move(world_.machine_state);
  const auto platform_keys = std::move(world_.platform_keys);
  machine("/attacker");
  world_.put_back(minted_long_);
  ASSERT_OK(world_.open());
  while (world_.vault->custody().generation() <= here) ASSERT_OK(world_.vault->custody().rewrap(false));
  world_.close_without_a_word();
  const auto keyrings = world_.files("/vault/keyrings");
  world_.put_back(genuine_);
  for (const auto& [path, bytes] : keyrings) world_.env.write(path, bytes);
  const auto refreshed = reader->custody().refresh();
  ASSERT_FALSE(refreshed.ok());
  EXPECT_TRUE(is_integrity_error(refreshed.code())) << error_name(refreshed.code());
  EXPECT_EQ(reader->custody().status().fingerprint, newest_);
}

TEST_F(MintedVaultTest, APinOfAnOlderProgramIsReadAndGetsTheEpochAtItsNextWrite) {
  const Env::Path file = world_.env.files("/home/pins").front();
  const Bytes now = world_.env.read(file);
  // Version 1: without the epoch, its fingerprint and the incarnation to come.
  Bytes old(now.begin(), now.end() - 8 - 32 - 8 - 32);
  old[8] = std::byte{1};
  const Digest digest = sha256(old);
  old.insert(old.end(), digest.view().begin(), digest.view().end());
  world_.env.write(file, old);
  EXPECT_EQ(world_.machine_state->pin(id(), "/vault")->value().fingerprint, VaultFingerprint{});
  ASSERT_OK(world_.open_read_only());
  EXPECT_EQ(world_.env.read(file), old) << "a reader moves no pin";
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.env.read(file).size(), now.size());
  EXPECT_EQ(world_.machine_state->pin(id(), "/vault")->value().fingerprint, newest_);
}

TEST_F(MintedVaultTest, ACopyIsTrustedWithoutAForkAndItsOriginalStaysItsContinuation) {
  machine("/second");
  ASSERT_OK(trust(newest_));
  EXPECT_EQ(world_.files(), genuine_) << "nothing is written into a copy";
  // The original goes on, with another epoch, and is copied once more.
  machine("/home");
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm", "third"));
  ASSERT_OK(world_.vault->custody().new_epoch());
  ASSERT_OK(world_.close());
  const VaultFingerprint third = fingerprint_at("/home");
  machine("/second");
  ASSERT_OK(world_.open_read_only());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "genuine up to epoch 2"));
  EXPECT_FALSE(mentions(world_.vault->opening_notes(), "older state"));
  EXPECT_THAT(world_.points(), ElementsAre("vm=first", "vm=second", "vm=third"));
  const auto pin = trust(third);
  ASSERT_OK(pin);
  EXPECT_EQ(pin->fingerprint, third);
  ASSERT_OK(world_.open());
  EXPECT_FALSE(mentions(world_.vault->opening_notes(), "genuine up to"));
}

TEST_F(MintedVaultTest, ABranchIsNotCalledOlder) {
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.write("one"));
  ASSERT_OK(world_.close());
  const auto one = world_.files();
  machine("/second");
  world_.put_back(genuine_);
  ASSERT_OK(trust(newest_));
  ASSERT_OK(world_.open());
  for (int i = 0; i < 5; ++i) ASSERT_OK(world_.vault->write_head());
  ASSERT_OK(world_.close());
  machine("/home");
  const Status branch = world_.open_read_only();
  ASSERT_EQ(code_of(branch), ErrorCode::RollbackDetected);
  EXPECT_NE(branch.error().message.find("another branch"), std::string::npos) << branch.error().message;
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "another branch"));
  EXPECT_FALSE(mentions(world_.vault->opening_notes(), "older state"));
  // Accepted by name with its newest fingerprint; what is done there first begins an incarnation of its own.
  const auto before = world_.files();
  const auto pin = trust(newest_, true);
  ASSERT_OK(pin);
  EXPECT_EQ(world_.files(), before);
  EXPECT_EQ(pin->restart_above, 1U);
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->custody().incarnation(), 2U);
  EXPECT_EQ(world_.vault->custody().status().current_epoch, EpochNumber(3));
  ASSERT_OK(world_.close());
  world_.put_back(one);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
}

}  // namespace
}  // namespace vaultfs
