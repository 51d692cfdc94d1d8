// Journals with more behind them than any owner ever left: a reader looks for proof of a loss so far and no further.
#include "store/record/record_scanner.h"
#include "tests/store/journal/journal_fixture.h"
#include "tests/support/sparse_env.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kJournalAsLongAsADisk = std::uint64_t{1024} * 1024 * kMiB;

class SparseJournal : public ::testing::Test {
 protected:
  SparseJournal() { env_.make_directories(kJournalDirectory); }
  void write(bool clean) {
    auto journal = start_journal(env_, *keys_);
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE((*journal)->append(EntryOwner::tree, entry_of("one")).ok());
    ASSERT_TRUE((*journal)->commit().ok());
    if (clean) {
      ASSERT_TRUE((*journal)->close_cleanly().ok());
    }
  }

  SimEnv env_;
  SparseEnv sparse_{env_};
  std::unique_ptr<EpochKeys> keys_ = make_test_keys();
};

TEST_F(SparseJournal, TheSearchForProofOfLossGivesUp) {
  for (const bool clean : {false, true}) {
    env_.make_directories(kJournalDirectory);
    write(clean);
    sparse_.stretch(journal_path(1), kJournalAsLongAsADisk);
    sparse_.work = {};
    const ReplayedLog log = replay(sparse_, *keys_);
    EXPECT_EQ(log.outcome.code(), ErrorCode::JournalDamaged);
    EXPECT_EQ(log.contents(), std::vector<std::string>{"one"}) << "what precedes it is authentic";
    EXPECT_LE(sparse_.work.read_bytes, kMaxPassedOverBytes + 8 * kMiB);
    EXPECT_LE(sparse_.work.largest_read, 2 * kMiB);
    env_.remove(journal_path(1));
  }
}

// As much as an owner may have left unsynced, and zeros ahead of it.
TEST_F(SparseJournal, AShortTailIsDropped) {
  write(false);
  const std::uint64_t bytes = env_.read(journal_path(1)).size();
  sparse_.stretch(journal_path(1), bytes + 200 * kMiB);
  const ReplayedLog log = replay(sparse_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.outcome->dropped_tail_bytes, 0U) << "zeros are none";
}

// What is no zero is told, to its last byte.
TEST_F(SparseJournal, ATailIsCountedToItsLastByteThatIsNoZero) {
  write(false);
  const auto end = replay(env_, *keys_);
  ASSERT_TRUE(end.outcome.ok());
  ASSERT_EQ(end.outcome->accepted.size(), 1U);
  const std::uint64_t at = end.outcome->accepted.front().bytes;
  for (const std::uint64_t behind : {0U, 7U, 8U, 1000U, 65'536U, 200'001U}) {
    Bytes file = env_.read(journal_path(1));
    file.resize(at);
    file.resize(at + 300'000);
    file[at + behind] = std::byte{1};
    env_.write(journal_path(1), file);
    const ReplayedLog log = replay(env_, *keys_);
    ASSERT_TRUE(log.outcome.ok());
    EXPECT_EQ(log.outcome->dropped_tail_bytes, behind / 8 * 8 + 8) << behind;
  }
}

}  // namespace
}  // namespace vaultfs
