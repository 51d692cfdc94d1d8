// Damage, and what replay may and may not make of it.
#include <algorithm>
#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "store/record/container.h"
#include "store/record/record.h"
#include "tests/store/journal/journal_test_log.h"

namespace vaultfs {
namespace {

class JournalDamage : public ::testing::Test {
 protected:
  JournalDamage() { env_.make_directories(kJournalDirectory); }

  // Journal `number` with one record for each text; the offset where each record ends.
  std::vector<std::uint64_t> write_journal(std::uint64_t number, Lsn replayed_to, const std::vector<std::string>& texts,
                                           bool clean = false) {
    auto journal = start_journal(env_, *keys_, number, replayed_to);
    EXPECT_TRUE(journal.ok());
    std::vector<std::uint64_t> ends{(*journal)->file_bytes()};
    for (const std::string& text : texts) {
      EXPECT_TRUE((*journal)->append(EntryOwner::tree, entry_of(text)).ok());
      EXPECT_TRUE((*journal)->commit().ok());
      ends.push_back((*journal)->file_bytes());
    }
    if (clean) {
      EXPECT_TRUE((*journal)->close_cleanly().ok());
    }
    return ends;
  }

  ErrorCode replay_code() {
    const ReplayedLog log = replay(env_, *keys_);
    EXPECT_FALSE(log.outcome.ok());
    return log.outcome.ok() ? ErrorCode::Internal : log.outcome.code();
  }

  SimEnv env_;
  std::unique_ptr<EpochKeys> keys_ = make_test_keys();
};

// Flips every bit of journal 1 in turn. Damage is named, or it is in [tail, …) and only the tail's entries are missing.
void flip_every_bit(SimEnv& env, const EpochKeys& keys, const std::vector<std::string>& all, std::uint64_t tail,
                    std::size_t entries_before_tail, Lsn required) {
  const auto snapshot = env.snapshot();
  const std::uint64_t bits = env.read(journal_path(1)).size() * 8;
  for (std::uint64_t bit = 0; bit < bits; ++bit) {
    env.restore(snapshot);
    env.flip_bit(journal_path(1), bit);
    const ReplayedLog log = replay(env, keys, 1, {}, required);
    const std::vector<std::string> got = log.contents();
    ASSERT_LE(got.size(), all.size());
    ASSERT_TRUE(std::equal(got.begin(), got.end(), all.begin())) << "bit " << bit;
    if (log.outcome.ok()) {
      ASSERT_GE(bit / 8, tail) << "bit " << bit << " was swallowed";
      ASSERT_EQ(got.size(), entries_before_tail) << "bit " << bit;
      ASSERT_FALSE(log.outcome->clean);
    } else {
      ASSERT_EQ(log.outcome.code(), ErrorCode::JournalDamaged) << "bit " << bit;
    }
  }
}

TEST_F(JournalDamage, EveryFlippedBitOfAnUncleanJournal) {
  const auto ends = write_journal(1, {}, {"one", "two", "three"});
  // No evidence but the head can tell a damaged last record from one that was never synced.
  flip_every_bit(env_, *keys_, {"one", "two", "three"}, ends[2], 2, {});
}

TEST_F(JournalDamage, EveryFlippedBitWithAHead) {
  const auto ends = write_journal(1, {}, {"one", "two", "three"});
  flip_every_bit(env_, *keys_, {"one", "two", "three"}, ends[3], 3, Lsn(4));
}

TEST_F(JournalDamage, EveryFlippedBitOfACleanJournal) {
  const auto ends = write_journal(1, {}, {"one", "two"}, true);
  flip_every_bit(env_, *keys_, {"one", "two"}, ends[2], 2, {});
}

TEST_F(JournalDamage, EveryFlippedBitBeforeAnotherJournal) {
  const auto ends = write_journal(1, {}, {"one", "two"});
  write_journal(2, Lsn(3), {"three"});
  const auto snapshot = env_.snapshot();
  for (std::uint64_t bit = 0; bit < ends.back() * 8; ++bit) {
    env_.restore(snapshot);
    env_.flip_bit(journal_path(1), bit);
    ASSERT_EQ(replay_code(), ErrorCode::JournalDamaged) << bit;
  }
}

TEST_F(JournalDamage, CutAtEveryLength) {
  const std::vector<std::string> all{"one", "two", "three"};
  const auto ends = write_journal(1, {}, all);
  const auto snapshot = env_.snapshot();
  for (std::uint64_t size = 0; size < ends.back(); ++size) {
    env_.restore(snapshot);
    env_.cut(journal_path(1), size);
    const ReplayedLog log = replay(env_, *keys_);
    // Within the header and the first record no crash ever cuts: they are durable before the file has its name.
    ASSERT_EQ(log.outcome.ok(), size >= ends[0]) << size;
    if (!log.outcome.ok()) {
      ASSERT_EQ(log.outcome.code(), ErrorCode::JournalDamaged);
    } else {
      const auto whole = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), size) - ends.begin() - 1);
      ASSERT_EQ(log.contents(),
                std::vector<std::string>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(whole)));
    }
    // With evidence, from the head or from the next journal, it is damage.
    ASSERT_EQ(replay(env_, *keys_, 1, {}, Lsn(4)).outcome.code(), ErrorCode::JournalDamaged);
  }
  env_.restore(snapshot);
  write_journal(2, Lsn(4), {});
  env_.cut(journal_path(1), ends[2]);
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
}

TEST_F(JournalDamage, AMissingJournal) {
  write_journal(1, {}, {"one"});
  write_journal(2, Lsn(2), {"two"});
  write_journal(3, Lsn(4), {"three"});
  const auto snapshot = env_.snapshot();
  for (const std::uint64_t missing : {1U, 2U}) {
    env_.restore(snapshot);
    env_.remove(journal_path(missing));
    EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged) << missing;
  }
  env_.restore(snapshot);
  env_.remove(journal_path(3));
  EXPECT_TRUE(replay(env_, *keys_).outcome.ok());
  EXPECT_EQ(replay(env_, *keys_, 1, {}, Lsn(6)).outcome.code(), ErrorCode::JournalDamaged);
  // What is missing is in the checkpoint: nothing is lost.
  env_.restore(snapshot);
  env_.remove(journal_path(2));
  const ReplayedLog covered = replay(env_, *keys_, 1, Lsn(4));
  ASSERT_TRUE(covered.outcome.ok()) << covered.outcome.error().message;
  EXPECT_EQ(covered.contents(), std::vector<std::string>{"three"});
}

TEST_F(JournalDamage, AGapInTheNumbersWithoutALossIsNone) {
  write_journal(1, {}, {"one"});
  write_journal(5, Lsn(2), {"two"});
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok());
  EXPECT_EQ(log.contents(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(log.outcome->last_journal, ContainerNumber(5));
}

TEST_F(JournalDamage, SwappedAndForeignJournals) {
  write_journal(1, {}, {"one"});
  write_journal(2, Lsn(2), {"two"});
  const Bytes first = env_.read(journal_path(1));
  const Bytes second = env_.read(journal_path(2));
  env_.write(journal_path(1), second);
  env_.write(journal_path(2), first);
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
  env_.write(journal_path(1), first);
  env_.write(journal_path(2), second);
  const auto other_keys = make_test_keys(Suite::aes_gcm, 1, 9);
  EXPECT_EQ(replay(env_, *other_keys).outcome.code(), ErrorCode::JournalDamaged);
  // A journal that claims less than its predecessor gave: from another history.
  write_journal(3, Lsn(2), {});
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
}

TEST_F(JournalDamage, RecordsMovedWithinTheFile) {
  const auto ends = write_journal(1, {}, {"one", "two"});
  const Bytes whole = env_.read(journal_path(1));
  const auto part = [&](std::size_t from, std::size_t to) {
    return Bytes(whole.begin() + static_cast<std::ptrdiff_t>(from), whole.begin() + static_cast<std::ptrdiff_t>(to));
  };
  const auto join = [](std::initializer_list<Bytes> parts) {
    Bytes all;
    for (const Bytes& bytes : parts) all.insert(all.end(), bytes.begin(), bytes.end());
    return all;
  };
  const Bytes start = part(0, ends[0]);
  const Bytes one = part(ends[0], ends[1]);
  const Bytes two = part(ends[1], ends[2]);
  env_.write(journal_path(1), join({start, two, one}));
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
  env_.write(journal_path(1), join({start, one, one, two}));
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
  env_.write(journal_path(1), join({start, two}));
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
  // Zeros in place of a record that a later one calls synced.
  env_.write(journal_path(1), join({start, Bytes(one.size()), two}));
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
}

// A record whose checksums are right but that no key of the vault sealed.
TEST_F(JournalDamage, AForgedClaimIsNotBelieved) {
  const auto ends = write_journal(1, {}, {"one"});
  const auto other_keys = make_test_keys(Suite::aes_gcm, 1, 9);
  ContainerHeader header;
  const auto cipher =
      ContainerCipher::create(env_, *other_keys, ContainerKind::journal, ContainerNumber(1), header).value();
  RecordDraft draft;
  draft.type = RecordType::journal_entries;
  draft.sequence = 90;
  draft.synced_lsn = 89;
  draft.nonce_base = 50;
  Bytes forged = env_.read(journal_path(1));
  ASSERT_EQ(forged.size(), ends.back());
  ASSERT_TRUE(seal_record(*cipher, draft, bytes_of("forged"), forged).ok());
  env_.write(journal_path(1), forged);
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), std::vector<std::string>{"one"});
  EXPECT_EQ(log.outcome->dropped_tail_bytes, forged.size() - ends.back());
}

// An entry for a room that is not known was written by a newer program; that of a journal's beginning stands nowhere
// else.
TEST_F(JournalDamage, AnOwnerOfANewerProgramIsNoDamage) {
  write_journal(1, {}, {"one"});
  const Bytes before = env_.read(journal_path(1));
  const auto cipher =
      ContainerCipher::open(*keys_, ContainerHeader::decode(before).value(), ContainerKind::journal, ContainerNumber(1))
          .value();
  for (const std::uint8_t owner : {0, 3, 255}) {
    ByteWriter entries;
    entries.u32(1);
    entries.u8(owner);
    entries.blob(bytes_of("of whoever"));
    RecordDraft draft;
    draft.type = RecordType::journal_entries;
    draft.sequence = 3;
    draft.synced_lsn = 2;
    draft.nonce_base = 2;
    Bytes file = before;
    ASSERT_TRUE(seal_record(*cipher, draft, entries.view(), file).ok());
    env_.write(journal_path(1), file);
    EXPECT_EQ(replay_code(), owner == 0 ? ErrorCode::JournalDamaged : ErrorCode::UnsupportedFormat) << int{owner};
  }
}

// Great batches are several records of one write: their loss in any order is a crash, not damage, while nobody calls
// them synced.
TEST_F(JournalDamage, AnUnsyncedBatchMayLoseItsFirstRecordOnly) {
  auto journal = start_journal(env_, *keys_);
  ASSERT_TRUE(journal.ok());
  const std::uint64_t start = (*journal)->file_bytes();
  for (int i = 0; i < 3; ++i) {
    Bytes noise(3U << 20U);
    env_.fill_random(noise);
    ASSERT_TRUE((*journal)->append(EntryOwner::tree, std::move(noise)).ok());
  }
  ASSERT_TRUE((*journal)->commit().ok());
  env_.flip_bit(journal_path(1), (start + 1000) * 8);
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_TRUE(log.entries.empty());
  EXPECT_GT(log.outcome->dropped_tail_bytes, std::uint64_t{9} << 20U);
}

TEST_F(JournalDamage, AFailingReadIsAnErrorNotAnEnd) {
  write_journal(1, {}, {"one"});
  env_.fail_reads(journal_path(1));
  EXPECT_EQ(replay(env_, *keys_).outcome.code(), ErrorCode::IoError);
}

TEST_F(JournalDamage, OtherFilesInTheDirectoryAreNoJournals) {
  write_journal(1, {}, {"one"});
  for (const char* name : {"0000000000000002.journal.tmp", "2.journal", "0000000000000002.seg", "notes"}) {
    env_.write(kJournalDirectory / name, bytes_of("x"));
  }
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok());
  EXPECT_EQ(log.outcome->last_journal, ContainerNumber(1));
  env_.write(journal_path(2), {});
  EXPECT_EQ(replay_code(), ErrorCode::JournalDamaged);
}

// Somebody who kept the key of epoch 1 adds to the history after the epoch was closed.
TEST_F(JournalDamage, AJournalOfAClosedEpochIsRefusedFromTheOneOnThatTheHeadNames) {
  write_journal(1, {}, {"one"}, true);
  write_journal(2, Lsn(2), {"forged"});
  const auto now = make_test_keys(Suite::aes_gcm, 2, 0, 1);
  const ReplayedLog refused = replay(env_, *now, 1, {}, {}, ContainerNumber(2));
  ASSERT_EQ(refused.outcome.code(), ErrorCode::JournalDamaged);
  EXPECT_EQ(refused.contents(), std::vector<std::string>{"one"});
  // A head that knows of a closed epoch names a journal of the next one: one of its number is forged.
  EXPECT_EQ(replay(env_, *now, 1, {}, {}, ContainerNumber(1)).outcome.code(), ErrorCode::JournalDamaged);
  // What came before was made while the epoch was open, and an epoch that is open may go on.
  EXPECT_TRUE(replay(env_, *now, 1, {}, {}, ContainerNumber(3)).outcome.ok());
  EXPECT_TRUE(replay(env_, *now).outcome.ok());
  EXPECT_TRUE(replay(env_, *make_test_keys(Suite::aes_gcm, 2), 1, {}, {}, ContainerNumber(1)).outcome.ok());
}

}  // namespace
}  // namespace vaultfs
