// Journals by somebody who has the keys and seals what he likes: every rule of their form holds for itself. And what a
// journal's first entry says of those before it.
#include <optional>
#include <utility>
#include <vector>

#include "base/byte_codec.h"
#include "store/journal/journal_file.h"
#include "store/journal/journal_reader.h"
#include "store/record/record.h"
#include "tests/store/journal/journal_fixture.h"

namespace vaultfs {
namespace {

struct ForgedRecord {
  RecordType type = RecordType::journal_entries;
  std::uint64_t sequence = 0;
  std::uint64_t nonce_base = 0;
  std::uint64_t synced_lsn = 0;
  Bytes content;
};

Bytes entries_of(const std::vector<std::pair<EntryOwner, Bytes>>& entries) {
  ByteWriter writer;
  writer.u32(static_cast<std::uint32_t>(entries.size()));
  for (const auto& [owner, content] : entries) {
    writer.u8(static_cast<std::uint8_t>(owner));
    writer.blob(content);
  }
  return to_bytes(writer.view());
}

Bytes end_at(std::uint64_t lsn) {
  ByteWriter writer;
  writer.u64(lsn);
  return to_bytes(writer.view());
}

class ForgedJournalTest : public ::testing::Test {
 protected:
  ForgedJournalTest() { env_.make_directories(kJournalDirectory); }

  static ForgedRecord beginning(Lsn replayed_to = {}) {
    const JournalContinues continues{replayed_to, {}, {}};
    return {RecordType::journal_entries, replayed_to.value + 1, 0, replayed_to.value,
            entries_of({{EntryOwner::journal, continues.encode()}})};
  }
  // The one that follows: "one" with LSN 2.
  static ForgedRecord following() {
    return {RecordType::journal_entries, 2, 1, 1, entries_of({{EntryOwner::tree, entry_of("one")}})};
  }
  static ForgedRecord clean_end() { return {RecordType::journal_end, 2, 2, 2, end_at(2)}; }

  ErrorCode replay_of(const std::vector<ForgedRecord>& records) {
    ContainerHeader header;
    const auto cipher =
        ContainerCipher::create(env_, *keys_, ContainerKind::journal, ContainerNumber(1), header).value();
    Bytes file = header.encode();
    for (const ForgedRecord& record : records) {
      RecordDraft draft;
      draft.type = record.type;
      draft.sequence = record.sequence;
      draft.nonce_base = record.nonce_base;
      draft.synced_lsn = record.synced_lsn;
      draft.compression = Compression::off;
      EXPECT_TRUE(seal_record(*cipher, draft, record.content, file).ok());
    }
    env_.write(journal_path(1), file);
    const ReplayedLog log = replay(env_, *keys_);
    return log.outcome.ok() ? ErrorCode::Internal : log.outcome.code();
  }
  template <typename Change>
  ErrorCode with_following(const Change& change) {
    ForgedRecord record = following();
    change(record);
    return replay_of({beginning(), record});
  }
  [[nodiscard]] JournalContinues continues_of(std::uint64_t number) {
    return JournalReader::open(env_, kJournalDirectory, *keys_, ContainerNumber(number)).value()->continues();
  }

  SimEnv env_;
  std::unique_ptr<EpochKeys> keys_ = make_test_keys();
};

TEST_F(ForgedJournalTest, TheRightOneReplays) {
  EXPECT_EQ(replay_of({beginning(), following(), clean_end()}), ErrorCode::Internal);
}

// An authentic record that does not follow the one before it was put there.
TEST_F(ForgedJournalTest, ARecordStandsInItsPlaceOnly) {
  EXPECT_EQ(with_following([](ForgedRecord& record) { record.sequence = 3; }), ErrorCode::JournalDamaged);
  EXPECT_EQ(with_following([](ForgedRecord& record) { record.nonce_base = 2; }), ErrorCode::JournalDamaged);
  EXPECT_EQ(with_following([](ForgedRecord& record) { record.synced_lsn = 2; }), ErrorCode::JournalDamaged);
}

TEST_F(ForgedJournalTest, ARecordHoldsEntriesOfItsOwners) {
  EXPECT_EQ(with_following([](ForgedRecord& record) { record.content = entries_of({}); }), ErrorCode::JournalDamaged);
  EXPECT_EQ(with_following([](ForgedRecord& record) {
              record.content = entries_of({{EntryOwner::journal, JournalContinues{Lsn(1), {}, {}}.encode()}});
            }),
            ErrorCode::JournalDamaged);
}

TEST_F(ForgedJournalTest, ItBeginsWithOneEntryOfItsOwn) {
  const Bytes continues = JournalContinues{}.encode();
  const auto begins_with = [&](const Bytes& content) {
    ForgedRecord record = beginning();
    record.content = content;
    return replay_of({record});
  };
  EXPECT_EQ(begins_with(entries_of({{EntryOwner::journal, continues}})), ErrorCode::Internal);
  EXPECT_EQ(begins_with(entries_of({{EntryOwner::tree, continues}})), ErrorCode::JournalDamaged);
  EXPECT_EQ(begins_with(entries_of({})), ErrorCode::JournalDamaged);
  Bytes two = entries_of({{EntryOwner::journal, continues}});
  two[0] = std::byte{2};  // as many as it says, but one
  EXPECT_EQ(begins_with(two), ErrorCode::JournalDamaged);
}

TEST_F(ForgedJournalTest, ACleanEndSealsWhatPrecedesIt) {
  ForgedRecord end = clean_end();
  end.content = end_at(1);
  EXPECT_EQ(replay_of({beginning(), following(), end}), ErrorCode::JournalDamaged);
  end.content = end_at(3);
  EXPECT_EQ(replay_of({beginning(), following(), end}), ErrorCode::JournalDamaged);
}

// In a vault of format 1 the epochs of journals only grow.
TEST_F(ForgedJournalTest, AJournalOfAnOlderEpochFollowsNoneOfANewer) {
  const auto both = make_test_keys(Suite::aes_gcm, 2);
  {
    auto first = start_journal(env_, *both, 1);
    ASSERT_TRUE(first.ok());
  }
  {
    auto second = start_journal(env_, *make_test_keys(Suite::aes_gcm, 1), 2, Lsn(1));
    ASSERT_TRUE(second.ok());
  }
  EXPECT_EQ(replay(env_, *both).outcome.code(), ErrorCode::JournalDamaged);
}

// What a head names is of an epoch that is open: whoever kept an old key may have seen such a file before.
TEST_F(ForgedJournalTest, TheNamedJournalIsOfAnOpenEpoch) {
  auto journal = start_journal(env_, *keys_);
  ASSERT_TRUE(journal.ok());
  JournalReplayRange range;
  range.named = (*journal)->position();
  EXPECT_TRUE(replay(env_, *make_test_keys(Suite::aes_gcm, 2), range).outcome.ok());
  EXPECT_EQ(replay(env_, *make_test_keys(Suite::aes_gcm, 2, 0, 1), range).outcome.code(), ErrorCode::JournalDamaged);
}

TEST_F(ForgedJournalTest, AJournalFollowsOnesOfLowerNumbersOnly) {
  auto later = start_journal(env_, *keys_, 3);
  ASSERT_TRUE(later.ok());
  const JournalPosition position = (*later)->position();
  const JournalStart start{ContainerNumber(2), position.lsn, {}, {{position.number, position.bytes, position.digest}}};
  auto journal = Journal::create(env_, kJournalDirectory, *keys_, start, {}, entry_of(kNoChange));
  ASSERT_TRUE(journal.ok());
  JournalReplayRange range;
  range.named = (*journal)->position();
  EXPECT_EQ(replay(env_, *keys_, range).outcome.code(), ErrorCode::JournalDamaged);
}

TEST_F(ForgedJournalTest, ANewFileTellsOfNoneThatACheckpointHas) {
  auto journal = start_journal(env_, *keys_);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE((*journal)->rotate(ContainerNumber(1)).ok());
  (*journal)->forget_before(ContainerNumber(2));
  ASSERT_TRUE((*journal)->rotate(ContainerNumber(2)).ok());
  const JournalContinues continues = continues_of(3);
  EXPECT_EQ(continues.checkpoint, ContainerNumber(2));
  ASSERT_EQ(continues.before.size(), 1U) << "journal 1 is gone by now";
  EXPECT_EQ(continues.before[0].number, ContainerNumber(2));
}

// The checkpoint that a rotation was for is made after it: where the rotation found no room there is none.
TEST_F(ForgedJournalTest, NoJournalNamesACheckpointThatWasNotMade) {
  auto journal = start_journal(env_, *keys_);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE((*journal)->rotate(ContainerNumber(1)).ok());
  env_.set_free_bytes(0);
  EXPECT_EQ((*journal)->rotate(ContainerNumber(7)).code(), ErrorCode::NoSpace);
  env_.set_unlimited_space();
  ASSERT_TRUE((*journal)->append(EntryOwner::tree, entry_of("one")).ok());
  ASSERT_TRUE((*journal)->commit().ok());
  EXPECT_EQ(continues_of((*journal)->number().value).checkpoint, ContainerNumber(1));
}

}  // namespace
}  // namespace vaultfs
