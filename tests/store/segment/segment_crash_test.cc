#include <set>

#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

// What a run has put, and what of it a successful sync() or close_segment() covered.
struct Ledger {
  std::map<ChunkId, Bytes> put;
  std::set<ChunkId> durable;
};

Status put_some(TestVault& vault, Ledger& ledger, std::uint64_t seed) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    const Bytes content = i == 1 ? text_content(90'000, seed + i) : random_content(20'000 + i, seed + i);
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome outcome, vault.store->put(RecordType::chunk, content));
    ledger.put[outcome.id] = content;
  }
  return ok_status();
}

void all_durable(Ledger& ledger) {
  for (const auto& [id, content] : ledger.put) ledger.durable.insert(id);
}

// Puts, syncs, rollovers, closes, an index, and the same again after a reopening (with its recovery).
Status scenario(TestVault& vault, Ledger& ledger) {
  for (std::uint64_t round = 0; round < 2; ++round) {
    VAULTFS_RETURN_IF_ERROR(vault.open());
    VAULTFS_RETURN_IF_ERROR(put_some(vault, ledger, 100 * round));
    VAULTFS_RETURN_IF_ERROR(vault.store->sync());
    all_durable(ledger);
    VAULTFS_RETURN_IF_ERROR(put_some(vault, ledger, 100 * round + 10));
    VAULTFS_RETURN_IF_ERROR(vault.store->close_segment());
    all_durable(ledger);
    VAULTFS_RETURN_IF_ERROR(vault.save_index());
    VAULTFS_RETURN_IF_ERROR(put_some(vault, ledger, 100 * round + 20));
    VAULTFS_RETURN_IF_ERROR(vault.store->sync());
    all_durable(ledger);
  }
  return ok_status();
}

void check_segments(TestVault& vault, const Ledger& ledger, const std::string& where) {
  const Status opened = vault.open();
  ASSERT_TRUE(opened.ok()) << where << message(opened);
  for (const auto& [file, error] : vault.recovery.damaged) {
    ADD_FAILURE() << where << "a crash must not look like damage: " << file << ": " << error.message;
  }
  for (const auto& [id, content] : ledger.put) {
    const auto got = vault.get(id);
    if (got.ok()) {
      ASSERT_EQ(*got, content) << where;
    } else {
      ASSERT_FALSE(ledger.durable.contains(id)) << where << got.error().message;
      ASSERT_EQ(got.code(), ErrorCode::ChunkMissing) << where << got.error().message;
    }
  }
}

class SegmentCrashTest : public testing::TestWithParam<CrashMode> {};

INSTANTIATE_TEST_SUITE_P(Modes, SegmentCrashTest,
                         testing::Values(CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random));

TEST_P(SegmentCrashTest, WhatWasSyncedSurvivesACrashAtEveryStep) {
  for (std::uint64_t n = 0;; ++n) {
    bool completed = false;
    for (std::uint64_t seed = 1; seed <= (GetParam() == CrashMode::random ? 4U : 1U); ++seed) {
      TestVault vault(Suite::aes_gcm, seed);
      vault.options.segment_bytes = 60'000;
      Ledger ledger;
      vault.env.fail_after(n);
      completed = scenario(vault, ledger).ok();
      vault.store.reset();
      vault.env.crash(seed * 1000 + n, GetParam());
      const std::string where = "step " + std::to_string(n) + " seed " + std::to_string(seed) + ": ";
      check_segments(vault, ledger, where);
      if (testing::Test::HasFatalFailure()) return;
      // What the recovery left must be as good as any.
      vault.store.reset();
      vault.env.crash(n, CrashMode::drop_all_unsynced);
      check_segments(vault, ledger, where + "again: ");
      if (testing::Test::HasFailure()) return;
    }
    if (completed) {
      EXPECT_GT(n, 40U);
      break;
    }
  }
}

// The recovery itself crashes at each of its steps, and the next one finishes it.
TEST_P(SegmentCrashTest, RecoveryMayCrashAtEveryStep) {
  TestVault vault;
  Ledger ledger;
  ASSERT_TRUE(vault.open().ok());
  ASSERT_TRUE(put_some(vault, ledger, 1).ok());
  ASSERT_TRUE(vault.store->sync().ok());
  all_durable(ledger);
  ASSERT_TRUE(put_some(vault, ledger, 50).ok());
  vault.store.reset();
  vault.env.crash(5, CrashMode::random);  // leaves torn records behind the synced ones
  const auto before = vault.env.snapshot();
  for (std::uint64_t n = 0;; ++n) {
    vault.env.restore(before);
    vault.env.fail_after(n);
    const Status first = vault.open();
    const bool reached = vault.env.failure_reached();
    vault.store.reset();
    vault.env.crash(n, GetParam());
    check_segments(vault, ledger, "recovery step " + std::to_string(n) + ": ");
    if (testing::Test::HasFailure()) return;
    if (!reached) {
      EXPECT_GT(n, 3U);
      break;
    }
  }
}

// The same, where the sync that fails is the next owner's, of what a killed one left: he does not become the owner, and
// the one after him has it on the disk.
TEST(SegmentFailedSync, ARecoveryCountsOnNothingThatItCouldNotSync) {
  TestVault vault;
  ASSERT_TRUE(vault.open().ok());
  const Bytes content = random_content(9000, 1);
  const ChunkId id = vault.must_put(content);
  vault.env.kill_process();
  vault.env.fail_next_sync(1);
  EXPECT_EQ(vault.open().code(), ErrorCode::IoError);
  vault.store.reset();
  vault.env.kill_process();
  ASSERT_TRUE(vault.open().ok());
  EXPECT_FALSE(vault.store->put(RecordType::chunk, content)->stored);
  ASSERT_TRUE(vault.store->sync().ok());
  vault.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_TRUE(vault.open().ok());
  const auto got = vault.get(id);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(*got, content);
}

// After a failed sync the kernel shows what was written until the next restart, and has lost it: who takes the store
// over from a killed owner must not count on it.
TEST(SegmentFailedSync, TheNextOwnerDoesNotFindWhatIsLost) {
  for (const bool while_closing : {false, true}) {
    TestVault vault;
    ASSERT_TRUE(vault.open().ok());
    const Bytes safe = random_content(9000, 1);
    const Bytes lost = random_content(9000, 2);
    const ChunkId id_safe = vault.must_put(safe);
    ASSERT_TRUE(vault.store->sync().ok());
    const ChunkId id_lost = vault.must_put(lost);
    vault.env.fail_next_sync(1);
    EXPECT_FALSE((while_closing ? vault.store->close_segment() : vault.store->sync()).ok());
    vault.env.kill_process();
    ASSERT_TRUE(vault.open().ok());
    EXPECT_FALSE(vault.store->contains(id_lost));
    EXPECT_TRUE(vault.store->put(RecordType::chunk, lost)->stored);
    ASSERT_TRUE(vault.store->sync().ok());
    vault.env.crash(1, CrashMode::drop_all_unsynced);
    ASSERT_TRUE(vault.open().ok());
    EXPECT_TRUE(vault.recovery.damaged.empty());
    for (const auto& [id, content] : {std::pair(id_safe, safe), std::pair(id_lost, lost)}) {
      const auto got = vault.get(id);
      ASSERT_TRUE(got.ok()) << got.error().message;
      EXPECT_EQ(*got, content);
    }
  }
}

}  // namespace
}  // namespace vaultfs
