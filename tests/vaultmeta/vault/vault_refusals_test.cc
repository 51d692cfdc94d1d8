#include <gtest/gtest.h>

#include "store/record/container.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

TEST(VaultTrust, AMachineWithoutThePinReadsOnlyWhenAskedTo) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  ASSERT_OK(world.close());
  // Another machine that has the platform key (from a recovery file), but no pin.
  for (const Env::Path& path : world.env.files("/home/platform-keys")) {
    world.env.copy(path, Env::Path("/home2/platform-keys") / path.filename());
  }
  world.start_machine("/home2");
  EXPECT_EQ(code_of(world.open()), ErrorCode::VaultUnverified);
  EXPECT_EQ(code_of(world.open_read_only()), ErrorCode::VaultUnverified);
  ASSERT_OK(world.open_read_only(false, true));
  EXPECT_TRUE(mentions(world.vault->opening_notes(), "unverified"));
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  world.close_without_a_word();
  VaultFingerprint wrong = created->fingerprint;
  wrong.digest.mutable_view()[5] ^= std::byte{1};
  EXPECT_EQ(trust_vault(world.machine(), "/vault", wrong, false).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(code_of(world.open()), ErrorCode::VaultUnverified);
  const auto before = world.files();
  const auto pin = trust_vault(world.machine(), "/vault", created->fingerprint, false);
  ASSERT_OK(pin);
  EXPECT_EQ(world.files(), before) << "trust writes nothing into the vault";
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), Texts{"vm1=a"});
  EXPECT_EQ(world.tree.texts, Texts{"vm1=a"});
  const auto entries = world.machine_state->audit_entries();
  ASSERT_OK(entries);
  EXPECT_EQ(entries->back().what, "vault.trust");
  EXPECT_EQ(world.machine_state->registrations()->size(), 1U);
}

TEST(VaultTrust, AnotherVaultInItsPlaceIsForeign) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  const Bytes good = world.env.read("/vault/vault.header");
  VaultHeader header = *VaultHeader::decode(good);
  header.root_fingerprint.mutable_view()[0] ^= std::byte{1};
  world.env.write("/vault/vault.header", header.encode());
  EXPECT_EQ(code_of(world.open()), ErrorCode::ForeignRootKey);
  EXPECT_EQ(code_of(world.open_read_only(true)), ErrorCode::ForeignRootKey);
}

TEST(VaultOpen, SaysWhatIsNoVault) {
  VaultWorld world;
  EXPECT_EQ(code_of(world.open()), ErrorCode::VaultNotFound);
  world.env.make_directories("/vault");
  EXPECT_EQ(code_of(world.open()), ErrorCode::NotAVault);
  world.env.write("/vault/vault.header", bytes_of("something else altogether, and long enough to be a header"));
  EXPECT_EQ(code_of(world.open()), ErrorCode::NotAVault);
}

class Rollback : public testing::Test {
 protected:
  // Two states of the vault: after the first and after the second backup, both cleanly closed.
  Rollback() {
    auto created = world_.create();
    if (!created.ok() || !world_.open().ok() || !world_.back_up("vm1", "old").ok() || !world_.close().ok())
      std::abort();
    fingerprint_ = created->fingerprint;
    older_ = world_.files();
    if (!world_.open().ok() || !world_.back_up("vm1", "new").ok() || !world_.vault->custody().rewrap(false).ok())
      std::abort();
    if (!world_.close().ok()) std::abort();
    newest_ = world_.files();
  }

  VaultWorld world_;
  VaultFingerprint fingerprint_;
  VaultWorld::Files older_;
  VaultWorld::Files newest_;
};

TEST_F(Rollback, OfTheWholeVaultIsFound) {
  world_.put_back(older_);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::RollbackDetected);
  // Read-only it can be looked at, without moving the pin.
  const auto pins = world_.files("/home/pins");
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "older state"));
  world_.close_without_a_word();
  EXPECT_EQ(world_.files("/home/pins"), pins);
}

TEST_F(Rollback, OfSingleFoldersIsFound) {
  const auto pins = world_.files("/home/pins");
  const auto begin_again = [&] {
    world_.close_without_a_word();
    world_.put_back(newest_);
    world_.put_back(pins, "/home/pins");  // an opening as owner moves the pin
  };
  for (const char* folder : {"/vault/heads", "/vault/keyrings", "/vault/checkpoints", "/vault/journal"}) {
    begin_again();
    world_.put_back(older_, folder);
    const Status opened = world_.open();
    if (opened.ok()) {
      // The newest checkpoint holds all that the journals held.
      EXPECT_STREQ(folder, "/vault/journal");
      EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
      EXPECT_EQ(world_.tree.texts, (Texts{"vm1=old", "vm1=new"}));
    } else {
      EXPECT_TRUE(is_integrity_error(opened.code())) << folder << " " << error_name(opened.code());
    }
  }
  begin_again();
  world_.put_back(older_, "/vault/points");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=ManifestMissing"}));
  begin_again();
  world_.put_back(older_, "/vault/activity");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->activity().entries().code(), ErrorCode::DamagedActivityLog);
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
}

TEST_F(Rollback, OfAJournalThatNoCheckpointHoldsIsFound) {
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.write("t1"));
  ASSERT_OK(world_.vault->journal().commit());
  const auto shorter = world_.files();
  ASSERT_OK(world_.back_up("vm1", "third"));
  ASSERT_OK(world_.vault->close());
  world_.put_back(shorter, "/vault/journal");
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
  for (const Env::Path& path : world_.env.files("/vault/journal")) world_.env.remove(path);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
}

TEST_F(Rollback, AManifestOfAnotherPointIsFound) {
  world_.env.copy("/vault/points/0000000000000001.point", "/vault/points/0000000000000002.point");
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=DamagedManifest"}));
}

TEST_F(Rollback, AnOlderCopyAcceptedByNameStartsANewIncarnation) {
  world_.put_back(older_);
  EXPECT_EQ(trust_vault(world_.machine(), "/vault", fingerprint_, false).code(), ErrorCode::RollbackDetected);
  const auto pin = trust_vault(world_.machine(), "/vault", fingerprint_, true);
  ASSERT_OK(pin);
  EXPECT_EQ(world_.files(), older_) << "nothing is written into the copy";
  ASSERT_OK(world_.open_read_only());
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.vault->custody().incarnation(), 2U);
  EXPECT_EQ(world_.machine_state->pin(pin->vault, "/vault")->value().restart_above, 0U);
  EXPECT_EQ(world_.points(), Texts{"vm1=old"});
  EXPECT_EQ(world_.tree.texts, Texts{"vm1=old"});
  ASSERT_OK(world_.back_up("vm1", "other"));
  ASSERT_OK(world_.close());
  // The future that was given up is no continuation any more.
  world_.put_back(newest_);
  const Status opened = world_.open();
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.code(), ErrorCode::RollbackDetected);
}

TEST_F(Rollback, AFailedAcceptanceKeepsThePin) {
  world_.put_back(older_);
  const auto pins = world_.files("/home/pins");
  VaultFingerprint wrong = fingerprint_;
  wrong.digest.mutable_view()[0] ^= std::byte{1};
  EXPECT_EQ(trust_vault(world_.machine(), "/vault", wrong, true).code(), ErrorCode::FingerprintMismatch);
  EXPECT_EQ(world_.files("/home/pins"), pins);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  ASSERT_OK(trust_vault(world_.machine(), "/vault", fingerprint_, true));
  ASSERT_OK(world_.open());
}

TEST_F(Rollback, ADamagedHeadIsNamedAsSuch) {
  const auto heads = world_.env.files("/vault/heads");
  world_.env.flip_bit(heads.back(), 300);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::DamagedHead);
  world_.put_back(newest_);
  constexpr std::uint64_t kVersionBit = 70;  // damage that looks like a newer format
  world_.env.flip_bit(heads.back(), kVersionBit);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::DamagedHead);
  const auto pins = world_.files("/home/pins");
  for (const std::uint64_t bit : {std::uint64_t{300}, kVersionBit}) {
    world_.put_back(newest_);
    world_.put_back(pins, "/home/pins");      // an opening as owner moves the pin
    world_.env.flip_bit(heads.front(), bit);  // the history gets shorter, nothing else
    ASSERT_OK(world_.open());
    EXPECT_TRUE(mentions(world_.vault->opening_notes(), "older head is damaged"));
    world_.close_without_a_word();
  }
}

TEST_F(Rollback, ACopyThatLacksItsNewestPartsOpensReadOnlyAtItsNewestCompletePoint) {
  for (const Env::Path& path : world_.env.files("/vault/checkpoints")) world_.env.remove(path);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::CheckpointMissing);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::CheckpointMissing);
  // The head vouches for the points as their manifests tell of them.
  ASSERT_OK(world_.open_for_points());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
  ASSERT_TRUE(world_.vault->history_damage().has_value());
  for (const PointInfo& point : world_.vault->catalogue().points()) EXPECT_FALSE(point.unproven);
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new"}));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "checkpoint"));
  for (const PointInfo& point : world_.vault->catalogue().points()) EXPECT_FALSE(point.unproven);
  // And without the newest segment the newest point is said to be incomplete.
  world_.env.remove("/vault/segments/0000000000000002.seg");
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=SegmentMissing"}));
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "0000000000000002.seg is missing"));
}

// A byte of the journal rots after a kill: that closes the vault to its owner, and takes no point away.
TEST_F(Rollback, ADamagedJournalLeavesThePointsToBeRead) {
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm1", "third"));
  ASSERT_OK(world_.back_up("vm2", "fourth"));
  world_.close_without_a_word();
  const Env::Path journal = world_.env.files("/vault/journal").back();
  world_.env.flip_bit(journal, (ContainerHeader::kEncodedBytes + 400) * 8);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::JournalDamaged);
  EXPECT_EQ(code_of(world_.open_read_only()), ErrorCode::JournalDamaged);
  ASSERT_OK(world_.open_for_points());
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new", "vm1=third", "vm2=fourth"}));
  const auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
  ASSERT_OK(report);
  ASSERT_FALSE(report->damage.empty());
  EXPECT_EQ(report->damage.front().error.code, ErrorCode::JournalDamaged);
  // A manifest that no head vouches for is not taken for one of them.
  world_.env.copy("/vault/points/0000000000000003.point", "/vault/points/0000000000000009.point");
  world_.env.remove("/vault/points/0000000000000003.point");
  ASSERT_OK(world_.open_for_points());
  ASSERT_TRUE(world_.vault->points_in_doubt().has_value());
  EXPECT_EQ(world_.vault->points_in_doubt()->code, ErrorCode::JournalDamaged);
  EXPECT_EQ(world_.points(), (Texts{"vm1=old", "vm1=new", "vm2=AuthenticationFailed"}));
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points().size(), 3U);
}

TEST(Vault, APinOlderThanTheHistoryThatIsKeptIsNoRollbackAndTrustMovesIt) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  const auto home = world.files("/home");
  const auto old_vault = world.files();
  for (int i = 0; i < 1030; ++i) ASSERT_OK(world.vault->write_head());
  ASSERT_OK(world.back_up("vm1", "b"));
  world.close_without_a_word();
  const auto newest_home = world.files("/home");
  world.put_back(home, "/home");
  // As an older program leaves it, or somebody who removes what he can.
  world.env.remove("/vault/heads/0000000000000400.pack");
  const Status outdated = world.open();
  ASSERT_EQ(outdated.code(), ErrorCode::PinOutdated);
  EXPECT_NE(outdated.error().message.find("vault trust VAULT --fingerprint"), std::string::npos);
  EXPECT_EQ(world.open_read_only().code(), ErrorCode::PinOutdated);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", {EpochNumber(1), Digest{}}, false).code(),
            ErrorCode::FingerprintMismatch);
  EXPECT_EQ(world.open().code(), ErrorCode::PinOutdated);
  ASSERT_OK(trust_vault(world.machine(), "/vault", created->fingerprint, false));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), (std::vector<std::string>{"vm1=a", "vm1=b"}));
  EXPECT_EQ(world.vault->custody().incarnation(), 1U) << "a plain trust starts none";
  world.close_without_a_word();
  // What really is older stays a rollback, and a plain trust does not help.
  world.put_back(newest_home, "/home");
  world.put_back(old_vault);
  EXPECT_EQ(world.open().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", created->fingerprint, false).code(), ErrorCode::RollbackDetected);
}

TEST(Vault, HeadsThatWereTakenAwayInTheMidstAreARollback) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  const auto home = world.files("/home");
  for (int i = 0; i < 9; ++i) ASSERT_OK(world.vault->write_head());
  world.close_without_a_word();
  world.put_back(home, "/home");
  world.env.remove("/vault/heads/0000000000000005.head");
  EXPECT_EQ(world.open().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(trust_vault(world.machine(), "/vault", created->fingerprint, false).code(), ErrorCode::RollbackDetected);
}

}  // namespace
}  // namespace vaultfs
