// Journals as a head of format 2 names them: which files count, and how much of each.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/record/container.h"
#include "store/record/record.h"
#include "tests/store/journal/journal_fixture.h"

namespace vaultfs {
namespace {

using Names = std::vector<std::string>;

class JournalChainTest : public JournalTest {
 protected:
  [[nodiscard]] ReplayedLog replay_named(const JournalPosition& named, std::uint64_t first = 1, Lsn after = {}) {
    JournalReplayRange range;
    range.first = ContainerNumber(first);
    range.after = after;
    range.named = named;
    return replay(env_, *keys_, range);
  }

  // Two journals, the second in use: "one", "two" | "three". `head` is what a head would name at the end.
  std::unique_ptr<Journal> two_files(JournalPosition& head) {
    auto journal = start();
    append(*journal, "one");
    append(*journal, "two");
    EXPECT_TRUE(journal->rotate(ContainerNumber(0)).ok());
    append(*journal, "three");
    EXPECT_TRUE(journal->commit().ok());
    head = journal->position();
    return journal;
  }
};

TEST_P(JournalChainTest, APositionTellsWhatIsDurable) {
  auto journal = start();
  const JournalPosition fresh = journal->position();
  EXPECT_EQ(fresh.number, ContainerNumber(1));
  EXPECT_EQ(fresh.lsn, Lsn(1));
  append(*journal, "one");
  EXPECT_EQ(journal->position().bytes, fresh.bytes) << "nothing was committed";
  ASSERT_TRUE(journal->commit().ok());
  const JournalPosition now = journal->position();
  EXPECT_EQ(now.lsn, Lsn(2));
  EXPECT_EQ(now.header, fresh.header);
  const Bytes file = env_.read(journal_path(1));
  ASSERT_GE(file.size(), now.bytes);
  EXPECT_EQ(now.digest, sha256(ByteView(file).first(now.bytes)));
  EXPECT_EQ(now.header, sha256(ByteView(file).first(ContainerHeader::kEncodedBytes)));
}

TEST_P(JournalChainTest, ReadsWhatTheHeadNamesAndWhatCameBefore) {
  JournalPosition head;
  const auto journal = two_files(head);
  append(*journal, "behind the head");
  ASSERT_TRUE(journal->commit().ok());
  const ReplayedLog log = replay_named(head);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"one", "two", "three", "behind the head"}));
  ASSERT_EQ(log.outcome->accepted.size(), 2U);
  EXPECT_EQ(log.outcome->accepted[1].bytes, journal->position().bytes);
  EXPECT_EQ(log.outcome->accepted[1].digest, journal->position().digest);
  EXPECT_TRUE(log.outcome->unnamed.empty());
}

TEST_P(JournalChainTest, AFileThatNoHeadNamesIsPassedOver) {
  JournalPosition head;
  auto journal = two_files(head);
  ASSERT_TRUE(journal->rotate(ContainerNumber(0)).ok());
  append(*journal, "not acknowledged");
  ASSERT_TRUE(journal->commit().ok());
  const ReplayedLog log = replay_named(head);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"one", "two", "three"}));
  EXPECT_EQ(log.outcome->unnamed, std::vector<ContainerNumber>{ContainerNumber(3)});
}

// A branch of the same epoch: another machine went on from the same state and made a journal of the same number.
TEST_P(JournalChainTest, AnotherBranchsFileIsNotTheOneThatIsNamed) {
  JournalPosition head;
  { const auto journal = two_files(head); }
  const Bytes mine = env_.read(journal_path(2));
  env_.remove(journal_path(2));
  auto other = start_journal(env_, *keys_, 2, Lsn(3));
  ASSERT_TRUE(other.ok());
  append(**other, "THREE");
  ASSERT_TRUE((*other)->commit().ok());
  other->reset();
  const ReplayedLog log = replay_named(head);
  EXPECT_EQ(log.outcome.code(), ErrorCode::JournalDamaged);
  env_.write(journal_path(2), mine);
  EXPECT_TRUE(replay_named(head).outcome.ok());
}

// Whoever knows the keys of the journal writes other entries of the same length into it, behind a header that stays.
TEST_P(JournalChainTest, RewrittenEntriesAreNoticed) {
  JournalPosition head;
  { const auto journal = two_files(head); }
  for (const std::uint64_t number : {1U, 2U}) {
    const Bytes before = env_.read(journal_path(number));
    const auto header = ContainerHeader::decode(before).value();
    const auto cipher = ContainerCipher::open(*keys_, header, ContainerKind::journal, ContainerNumber(number)).value();
    // Its first record again, then another entry.
    const auto first = RecordHeader::decode(ByteView(before).subspan(ContainerHeader::kEncodedBytes)).value();
    Bytes file = to_bytes(ByteView(before).first(ContainerHeader::kEncodedBytes + first.stored_bytes()));
    ByteWriter writer;
    const Names texts = number == 1 ? Names{"ONE", "TWO"} : Names{"THREE"};
    writer.u32(static_cast<std::uint32_t>(texts.size()));
    for (const std::string& text : texts) {
      writer.u8(static_cast<std::uint8_t>(EntryOwner::tree));
      writer.text(text);
    }
    RecordDraft draft;
    draft.type = RecordType::journal_entries;
    draft.sequence = first.sequence + 1;
    draft.synced_lsn = first.sequence;
    draft.nonce_base = first.frame_count;
    draft.compression = Compression::off;
    ASSERT_TRUE(seal_record(*cipher, draft, writer.view(), file).ok());
    env_.write(journal_path(number), file);
    EXPECT_EQ(replay_named(head).outcome.code(), ErrorCode::JournalDamaged) << "journal " << number;
    env_.write(journal_path(number), before);
  }
  EXPECT_TRUE(replay_named(head).outcome.ok());
}

TEST_P(JournalChainTest, WhatTheHeadSaysWasSyncedMustBeThere) {
  JournalPosition head;
  { const auto journal = two_files(head); }
  const Bytes second = env_.read(journal_path(2));
  env_.write(journal_path(2), to_bytes(ByteView(second).first(head.bytes - 8)));
  EXPECT_EQ(replay_named(head).outcome.code(), ErrorCode::JournalDamaged);
  env_.remove(journal_path(2));
  EXPECT_EQ(replay_named(head).outcome.code(), ErrorCode::JournalDamaged);
  env_.write(journal_path(2), second);
  env_.remove(journal_path(1));
  EXPECT_EQ(replay_named(head).outcome.code(), ErrorCode::JournalDamaged);
  // Unless a checkpoint holds it.
  const ReplayedLog log = replay_named(head, 2, Lsn(3));
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), Names{"three"});
}

// What a replay did not accept of a journal stays unaccepted, whatever comes back of it.
TEST_P(JournalChainTest, ATailThatWasDroppedStaysDropped) {
  auto journal = start();
  append(*journal, "kept");
  ASSERT_TRUE(journal->commit().ok());
  const JournalPosition head = journal->position();
  append(*journal, "dropped");
  ASSERT_TRUE(journal->commit().ok());
  journal.reset();
  const Bytes with_tail = env_.read(journal_path(1));
  env_.write(journal_path(1), to_bytes(ByteView(with_tail).first(head.bytes)));
  const ReplayedLog cut = replay_named(head);
  ASSERT_TRUE(cut.outcome.ok());
  auto next = Journal::create(env_, kJournalDirectory, *keys_,
                              {ContainerNumber(2), cut.outcome->last, {}, cut.outcome->accepted}, {}, {});
  ASSERT_TRUE(next.ok());
  append(**next, "later");
  ASSERT_TRUE((*next)->commit().ok());
  env_.write(journal_path(1), with_tail);
  const ReplayedLog log = replay_named((*next)->position());
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"kept", "later"}));
}

// --- Announcing ---

TEST_P(JournalChainTest, ANewFileIsAnnouncedBeforeAnythingInItIsAcknowledged) {
  auto journal = start();
  std::vector<JournalPosition> announced;
  journal->on_new_file([&](const JournalPosition& position) {
    announced.push_back(position);
    EXPECT_EQ(journal->position().number, ContainerNumber(position.number.value - 1)) << "not in use yet";
    return ok_status();
  });
  append(*journal, "one");
  ASSERT_EQ(journal->rotate(ContainerNumber(0)).value(), ContainerNumber(2));
  ASSERT_EQ(announced.size(), 1U);
  EXPECT_EQ(announced[0].number, ContainerNumber(2));
  // A head that was written then, and no later one, leads to all of it.
  append(*journal, "two");
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(replay_named(announced[0]).contents(), (Names{"one", "two"}));
}

TEST_P(JournalChainTest, NothingIsAcknowledgedWhereAFileCantBeAnnounced) {
  auto journal = start();
  const JournalPosition head = journal->position();
  journal->on_new_file([](const JournalPosition&) -> Status { return Error{ErrorCode::IoError, "no head"}; });
  append(*journal, "one");
  EXPECT_EQ(journal->rotate(ContainerNumber(0)).code(), ErrorCode::IoError);
  EXPECT_TRUE(journal->dead());
  EXPECT_FALSE(journal->append(EntryOwner::tree, entry_of("two")).ok());
  EXPECT_EQ(replay_named(head).contents(), Names{"one"});
}

TEST_P(JournalChainTest, AFullDiskOnlyPutsTheAnnouncementOff) {
  auto journal = start();
  std::optional<JournalPosition> head = journal->position();
  bool full = true;
  journal->on_new_file([&](const JournalPosition& position) -> Status {
    if (full) return Error{ErrorCode::NoSpace, "no room for a head"};
    head = position;
    return ok_status();
  });
  append(*journal, "one");
  EXPECT_EQ(journal->rotate(ContainerNumber(0)).code(), ErrorCode::NoSpace);
  EXPECT_FALSE(journal->dead());
  append(*journal, "two");
  EXPECT_EQ(journal->commit().code(), ErrorCode::NoSpace);
  EXPECT_EQ(replay_named(*head).contents(), Names{"one"});
  full = false;
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(head->number, journal->number());
  const ReplayedLog log = replay_named(*head);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"one", "two"}));
  EXPECT_FALSE(log.outcome->unnamed.empty()) << "the files of the tries before";
}

TEST_P(JournalChainTest, AFileThatStandsInTheWayIsPassedBy) {
  auto journal = start();
  env_.write(journal_path(2), entry_of("not a journal"));
  append(*journal, "one");
  EXPECT_EQ(journal->rotate(ContainerNumber(0)).value(), ContainerNumber(3));
  append(*journal, "two");
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(replay_named(journal->position()).contents(), (Names{"one", "two"}));
}

TEST_P(JournalChainTest, JournalsInACheckpointAreNotToldOf) {
  JournalPosition head;
  auto journal = two_files(head);
  journal->forget_before(ContainerNumber(2));
  ASSERT_TRUE(journal->rotate(ContainerNumber(1)).ok());
  env_.remove(journal_path(1));
  append(*journal, "four");
  ASSERT_TRUE(journal->commit().ok());
  const ReplayedLog log = replay_named(journal->position(), 2, Lsn(3));
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"three", "four"}));
}

// Two checkpoints may end in another order than they began.
TEST_P(JournalChainTest, WhatACheckpointHasIsNotToldOfAgainByAnOlderOne) {
  JournalPosition head;
  auto journal = two_files(head);
  journal->forget_before(ContainerNumber(2));
  journal->forget_before(ContainerNumber(1));
  ASSERT_TRUE(journal->rotate(ContainerNumber(1)).ok());
  env_.remove(journal_path(1));
  append(*journal, "four");
  ASSERT_TRUE(journal->commit().ok());
  const ReplayedLog log = replay_named(journal->position(), 1, Lsn(3));
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (Names{"three", "four"}));
}

INSTANTIATE_TEST_SUITE_P(Suites, JournalChainTest, ::testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha),
                         journal_suite_name);

}  // namespace
}  // namespace vaultfs
