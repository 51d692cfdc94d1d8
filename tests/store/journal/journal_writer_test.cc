#include <atomic>
#include <chrono>
#include <thread>

#include "store/journal/journal.h"
#include "store/journal/journal_file.h"
#include "store/record/container.h"
#include "store/record/record.h"
#include "tests/store/journal/journal_fixture.h"

namespace vaultfs {
namespace {

INSTANTIATE_TEST_SUITE_P(Suites, JournalTest, ::testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha),
                         journal_suite_name);

TEST_P(JournalTest, ReplaysWhatWasCommittedInOrder) {
  auto journal = start();
  EXPECT_EQ(journal->last_synced(), Lsn(1));  // the first entry of the journal itself
  EXPECT_EQ(append(*journal, "one", EntryOwner::catalogue), Lsn(2));
  EXPECT_EQ(append(*journal, "two"), Lsn(3));
  EXPECT_EQ(journal->buffered_bytes(), 6U);
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(append(*journal, ""), Lsn(4));
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(append(*journal, "never committed"), Lsn(5));
  EXPECT_EQ(journal->last_appended(), Lsn(5));
  EXPECT_EQ(journal->last_synced(), Lsn(4));
  EXPECT_TRUE(is_all_zero(ByteView(env_.read(journal_path(1))).subspan(journal->file_bytes())));
  env_.crash(1, CrashMode::keep_all);
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.entries, (std::vector<ReplayedEntry>{{Lsn(2), EntryOwner::catalogue, "one"},
                                                     {Lsn(3), EntryOwner::tree, "two"},
                                                     {Lsn(4), EntryOwner::tree, ""}}));
  EXPECT_EQ(log.outcome->last, Lsn(4));
  EXPECT_EQ(log.outcome->last_journal, ContainerNumber(1));
  EXPECT_FALSE(log.outcome->clean);
  EXPECT_EQ(log.outcome->dropped_tail_bytes, 0U);
}

TEST_P(JournalTest, AnEmptyDirectoryReplaysNothing) {
  const ReplayedLog log = replay(env_, *keys_, 1, Lsn(7));
  ASSERT_TRUE(log.outcome.ok());
  EXPECT_EQ(log.outcome->last, Lsn(7));
  EXPECT_EQ(log.outcome->last_journal, ContainerNumber(0));
  EXPECT_TRUE(log.outcome->clean);
}

TEST_P(JournalTest, EntriesUpToTheCheckpointAreSkipped) {
  auto journal = start();
  for (const char* text : {"one", "two", "three"}) append(*journal, text);
  ASSERT_TRUE(journal->commit().ok());
  const ReplayedLog log = replay(env_, *keys_, 1, Lsn(3));
  ASSERT_TRUE(log.outcome.ok());
  EXPECT_EQ(log.contents(), std::vector<std::string>{"three"});
  EXPECT_EQ(log.entries[0].lsn, Lsn(4));
}

TEST_P(JournalTest, AnErrorOfApplyStopsTheReplay) {
  auto journal = start();
  for (const char* text : {"one", "two"}) append(*journal, text);
  ASSERT_TRUE(journal->commit().ok());
  int calls = 0;
  const auto outcome =
      replay_journals(env_, kJournalDirectory, *keys_, JournalReplayRange(), [&](Lsn, EntryOwner, ByteView) -> Status {
        ++calls;
        return Error{ErrorCode::NoSpace, "x"};
      });
  EXPECT_EQ(outcome.code(), ErrorCode::NoSpace);
  EXPECT_EQ(calls, 1);
}

TEST_P(JournalTest, CleanEnd) {
  auto journal = start();
  append(*journal, "one");
  ASSERT_TRUE(journal->close_cleanly().ok());
  EXPECT_TRUE(journal->close_cleanly().ok());
  EXPECT_TRUE(journal->commit().ok());
  EXPECT_FALSE(journal->append(EntryOwner::tree, entry_of("two")).ok());
  EXPECT_FALSE(journal->rotate(ContainerNumber(1)).ok());
  const std::uint64_t size = env_.read(journal_path(1)).size();
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok());
  EXPECT_TRUE(log.outcome->clean);
  EXPECT_EQ(log.contents(), std::vector<std::string>{"one"});
  // Cut anywhere in the end record: not clean, nothing lost. One byte more: damage.
  env_.cut(journal_path(1), size - 8);
  const ReplayedLog cut = replay(env_, *keys_);
  ASSERT_TRUE(cut.outcome.ok());
  EXPECT_FALSE(cut.outcome->clean);
  EXPECT_GT(cut.outcome->dropped_tail_bytes, 0U);
  EXPECT_EQ(cut.contents(), std::vector<std::string>{"one"});
}

TEST_P(JournalTest, BytesAfterTheCleanEndAreDamage) {
  auto journal = start();
  ASSERT_TRUE(journal->close_cleanly().ok());
  env_.cut(journal_path(1), env_.read(journal_path(1)).size() + 1);
  EXPECT_EQ(replay(env_, *keys_).outcome.code(), ErrorCode::JournalDamaged);
}

TEST_P(JournalTest, OneSmallCommitCostsOneWriteAndOneSync) {
  int before = 0;
  auto journal = start(1, {}, [&] {
    ++before;
    return ok_status();
  });
  Bytes fragment(4096);
  env_.fill_random(fragment);
  ASSERT_TRUE(journal->append(EntryOwner::tree, fragment).ok());
  ASSERT_TRUE(journal->commit().ok());  // writes zeros ahead
  const std::uint64_t steps = env_.steps();
  const std::uint64_t writes = env_.steps(SimStep::write);
  ASSERT_TRUE(journal->append(EntryOwner::tree, fragment).ok());
  EXPECT_EQ(env_.steps(), steps);
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(env_.steps(), steps + 2);
  EXPECT_EQ(env_.steps(SimStep::write), writes + 1);
  EXPECT_EQ(before, 2);
  ASSERT_TRUE(journal->commit().ok());
  ASSERT_TRUE(journal->commit_up_to(Lsn(3)).ok());
  EXPECT_EQ(env_.steps(), steps + 2);
  EXPECT_EQ(before, 2);
}

TEST_P(JournalTest, BeforeWritePrecedesTheWriteAndSeesTheEntriesTaken) {
  std::vector<std::string> events;
  Journal* self = nullptr;
  env_.set_observer([&](SimStep kind, const Env::Path&) {
    if (self != nullptr) events.emplace_back(kind == SimStep::write ? "write" : "sync");
  });
  auto journal = start(1, {}, [&]() -> Status {
    events.emplace_back("before");
    // Appended while a batch is on its way: it belongs to the next one.
    return self->append(EntryOwner::tree, entry_of("late")).ok() ? ok_status() : Error{ErrorCode::Internal, ""};
  });
  self = journal.get();
  append(*journal, "early");
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(events, (std::vector<std::string>{"before", "write", "write", "sync"}));  // zeros ahead, then the record
  EXPECT_EQ(journal->last_synced(), Lsn(2));
  EXPECT_EQ(journal->last_appended(), Lsn(3));
  EXPECT_EQ(replay(env_, *keys_).contents(), std::vector<std::string>{"early"});
}

TEST_P(JournalTest, GreatEntriesAndBatches) {
  auto journal = start();
  std::vector<std::string> expected;
  for (const std::size_t size : {kMaxJournalEntryBytes, std::size_t{1}, std::size_t{3} << 20U, std::size_t{2} << 20U,
                                 kMaxJournalEntryBytes, kMaxJournalEntryBytes - 9}) {
    Bytes content(size);
    env_.fill_random(content);
    expected.emplace_back(text_of(content));
    ASSERT_TRUE(journal->append(EntryOwner::tree, std::move(content)).ok());
  }
  EXPECT_EQ(journal->append(EntryOwner::tree, Bytes(kMaxJournalEntryBytes + 1)).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(journal->append(EntryOwner::journal, Bytes(1)).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(journal->commit_up_to(Lsn(100)).code(), ErrorCode::InvalidArgument);
  const std::uint64_t syncs = env_.steps(SimStep::sync);
  const std::uint64_t writes = env_.steps(SimStep::write);
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(env_.steps(SimStep::sync), syncs + 1);
  // None of them has room for another one within 1 MiB (format.md, section 5), and no zeros are written ahead.
  EXPECT_EQ(env_.steps(SimStep::write), writes + expected.size());
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_TRUE(log.contents() == expected);
}

TEST_P(JournalTest, CompressesNothing) {
  const std::string text(1U << 20U, 'a');
  auto journal = start();
  append(*journal, text);
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_GT(journal->file_bytes(), text.size());
  EXPECT_EQ(replay(env_, *keys_).entries.at(0).content, text);
}

// The first versions compressed their records.
TEST_P(JournalTest, ReadsCompressedRecords) {
  const std::string text(1U << 20U, 'a');
  ContainerHeader header;
  const auto cipher = ContainerCipher::create(env_, *keys_, ContainerKind::journal, ContainerNumber(1), header).value();
  Bytes file = header.encode();
  RecordDraft draft;
  draft.type = RecordType::journal_entries;
  const auto add = [&](EntryOwner owner, ByteView entry) {
    ByteWriter writer;
    writer.u32(1);
    writer.u8(static_cast<std::uint8_t>(owner));
    writer.blob(entry);
    draft.synced_lsn = draft.sequence++;
    ASSERT_TRUE(seal_record(*cipher, draft, writer.view(), file).ok());
    draft.nonce_base += frame_count_of(writer.view().size(), draft.frame_log2);
  };
  add(EntryOwner::journal, JournalContinues{}.encode());
  add(EntryOwner::tree, bytes_of(text));
  ASSERT_LT(file.size(), 20'000U);
  env_.write(journal_path(1), file);
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), std::vector<std::string>{text});
}

TEST_P(JournalTest, RotateContinuesTheSequenceInANewFile) {
  auto journal = start();
  append(*journal, "one");
  EXPECT_EQ(journal->rotate(ContainerNumber(5)).value(), ContainerNumber(2));
  EXPECT_EQ(journal->number(), ContainerNumber(2));
  EXPECT_EQ(journal->last_synced(), Lsn(3));
  EXPECT_EQ(append(*journal, "two"), Lsn(4));
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(journal->rotate(ContainerNumber(6)).value(), ContainerNumber(3));
  ASSERT_TRUE(journal->close_cleanly().ok());
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(log.outcome->last, Lsn(5));
  EXPECT_TRUE(log.outcome->clean);
  // From the checkpoint on: what is before its journal is not needed any more.
  env_.remove(journal_path(1));
  const ReplayedLog later = replay(env_, *keys_, 2, Lsn(2));
  ASSERT_TRUE(later.outcome.ok()) << later.outcome.error().message;
  EXPECT_EQ(later.contents(), std::vector<std::string>{"two"});
  EXPECT_EQ(replay(env_, *keys_, 1, Lsn(1)).outcome.code(), ErrorCode::JournalDamaged);
}

TEST_P(JournalTest, WhatIsAppendedDuringRotationGoesToTheNewFile) {
  Journal* self = nullptr;
  auto journal = start(1, {}, [&]() -> Status {
    if (self->number() == ContainerNumber(1)) {
      EXPECT_EQ(self->append(EntryOwner::tree, entry_of("late")).value(), Lsn(4));
    }
    return ok_status();
  });
  self = journal.get();
  append(*journal, "early");
  ASSERT_TRUE(journal->rotate(ContainerNumber(1)).ok());
  EXPECT_EQ(replay(env_, *keys_).contents(), std::vector<std::string>{"early"});
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(replay(env_, *keys_).contents(), (std::vector<std::string>{"early", "late"}));
}

TEST_P(JournalTest, ANumberIsNeverTakenTwice) {
  start();
  EXPECT_EQ(start_journal(env_, *keys_).code(), ErrorCode::AlreadyExists);
  auto journal = start(2, Lsn(1));
  start(3, Lsn(2));
  EXPECT_EQ(journal->rotate(ContainerNumber(1)).value(), ContainerNumber(4));
}

TEST_P(JournalTest, WithoutKeysNothingStartsAndNothingIsReplayed) {
  start();
  keys_->wipe();
  EXPECT_EQ(start_journal(env_, *keys_, 2, Lsn(1)).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(replay(env_, *keys_).outcome.code(), ErrorCode::KeyRevoked);
}

TEST_P(JournalTest, FailedWriteOrSyncOrBeforeWriteIsSticky) {
  for (const int fault : {0, 1, 2}) {
    SimEnv env;
    env.make_directories(kJournalDirectory);
    bool fail_before = false;
    auto journal = start_journal(env, *keys_, 1, {}, [&]() -> Status {
      if (fail_before) return Error{ErrorCode::NoSpace, "the segments"};
      return ok_status();
    });
    ASSERT_TRUE(journal.ok());
    append(**journal, "durable");
    ASSERT_TRUE((*journal)->commit().ok());
    append(**journal, "lost");
    if (fault == 0) env.fail_next_write(1);
    if (fault == 1) env.fail_next_sync(1);
    if (fault == 2) fail_before = true;
    const ErrorCode code = fault == 2 ? ErrorCode::NoSpace : ErrorCode::IoError;
    EXPECT_EQ((*journal)->commit().code(), code);
    fail_before = false;
    EXPECT_EQ((*journal)->commit().code(), code);
    EXPECT_EQ((*journal)->commit_up_to(Lsn(2)).code(), code);
    EXPECT_EQ((*journal)->append(EntryOwner::tree, entry_of("x")).code(), code);
    EXPECT_EQ((*journal)->rotate(ContainerNumber(1)).code(), code);
    EXPECT_EQ((*journal)->close_cleanly().code(), code);
    EXPECT_EQ((*journal)->last_synced(), Lsn(2));
    // Also without a restart in between nobody builds on what the kernel may only pretend to have.
    EXPECT_EQ(replay(env, *keys_).contents(), std::vector<std::string>{"durable"});
    ASSERT_TRUE(start_journal(env, *keys_, 2, Lsn(2)).ok());
    env.crash(1, CrashMode::drop_all_unsynced);
    const ReplayedLog log = replay(env, *keys_);
    ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
    EXPECT_EQ(log.contents(), std::vector<std::string>{"durable"});
  }
}

TEST_P(JournalTest, ThreadsShareTheirSyncs) {
  constexpr int kThreads = 8;
  constexpr int kCommits = 40;
  auto journal = start(1, {}, [] { return ok_status(); });
  // A disk that takes its time, so that commits come together.
  env_.set_observer([](SimStep kind, const Env::Path&) {
    if (kind == SimStep::sync) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::atomic<bool> rotating{true};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCommits; ++i) {
        const auto lsn = journal->append(EntryOwner::tree, entry_of(std::to_string(t) + ":" + std::to_string(i)));
        ASSERT_TRUE(lsn.ok());
        ASSERT_TRUE((i % 2 == 0 ? journal->commit() : journal->commit_up_to(*lsn)).ok());
        ASSERT_GE(journal->last_synced(), *lsn);
      }
    });
  }
  std::thread rotator([&] {
    while (rotating) {
      ASSERT_TRUE(journal->rotate(ContainerNumber(1)).ok());
      if (journal->number() >= ContainerNumber(5)) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  for (std::thread& thread : threads) thread.join();
  rotating = false;
  rotator.join();
  EXPECT_LT(env_.steps(SimStep::sync), static_cast<std::uint64_t>(kThreads) * kCommits);
  env_.crash(1, CrashMode::drop_all_unsynced);
  const ReplayedLog log = replay(env_, *keys_);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  ASSERT_EQ(log.entries.size(), std::size_t{kThreads} * kCommits);
  std::vector<int> next(kThreads);
  Lsn last;
  for (const ReplayedEntry& entry : log.entries) {
    EXPECT_GT(entry.lsn, last);
    last = entry.lsn;
    const auto thread = static_cast<std::size_t>(entry.content[0] - '0');
    EXPECT_EQ(entry.content, std::to_string(thread) + ":" + std::to_string(next[thread]++));
  }
}

TEST_P(JournalTest, EveryWaiterLearnsOfAFailure) {
  auto journal = start();
  env_.fail_after(0);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      const auto lsn = journal->append(EntryOwner::tree, entry_of("x"));
      if (!lsn.ok() || !journal->commit().ok()) ++failures;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 8);
}

TEST_P(JournalTest, WithoutItsKeysItKeepsWhatIsAppendedAndContinuesInANewFile) {
  auto journal = start();
  append(*journal, "one");
  append(*journal, "buffered when the keys went");
  const std::size_t others = ContainerCipher::alive() - 1;
  keys_->wipe();
  journal->drop_cipher();
  EXPECT_EQ(ContainerCipher::alive(), others);
  journal->drop_cipher();  // again is nothing
  EXPECT_TRUE(journal->commit().ok()) << "nothing is left to write";
  append(*journal, "meanwhile");
  EXPECT_EQ(journal->commit().code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(journal->rotate(ContainerNumber(3)).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(journal->close_cleanly().code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(journal->buffered_bytes(), 9U);
  EXPECT_EQ(env_.files(kJournalDirectory).size(), 1U);
  // What was committed at the end of the first file is all there.
  const auto sealed_keys = make_test_keys(GetParam());
  EXPECT_EQ(replay(env_, *sealed_keys, 1, Lsn(0), journal->last_synced()).contents(),
            (std::vector<std::string>{"one", "buffered when the keys went"}));

  give_back_keys();
  append(*journal, "after");
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(journal->number(), ContainerNumber(2));
  append(*journal, "last");
  ASSERT_TRUE(journal->close_cleanly().ok());
  const ReplayedLog log = replay(env_, *keys_, 1, Lsn(0), journal->last_synced());
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_TRUE(log.outcome->clean);
  EXPECT_EQ(log.contents(),
            (std::vector<std::string>{"one", "buffered when the keys went", "meanwhile", "after", "last"}));
}

TEST_P(JournalTest, TheFileThatFollowsMayBeStartedByACommitOfNothingOrARotation) {
  for (const bool rotate : {false, true}) {
    auto journal = start(rotate ? 5 : 1);
    const std::uint64_t first = journal->number().value;
    append(*journal, "one");
    keys_->wipe();
    journal->drop_cipher();
    append(*journal, "two");
    give_back_keys();
    if (rotate) {
      EXPECT_EQ(journal->rotate(ContainerNumber(3)).value(), ContainerNumber(first + 1));
    } else {
      ASSERT_TRUE(journal->commit().ok());
    }
    EXPECT_EQ(journal->number(), ContainerNumber(first + 1));
    EXPECT_EQ(journal->last_synced(), journal->last_appended());
    journal.reset();
    EXPECT_EQ(replay(env_, *keys_, first).contents(), (std::vector<std::string>{"one", "two"}));
    for (const Env::Path& file : env_.files(kJournalDirectory)) env_.remove(file);
  }
}

TEST_P(JournalTest, ARotationThatLosesItsKeysIsNoFailure) {
  auto journal = start();
  append(*journal, "one");
  keys_->wipe();
  EXPECT_EQ(journal->rotate(ContainerNumber(3)).code(), ErrorCode::KeyRevoked);
  append(*journal, "two");
  give_back_keys();
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(replay(env_, *keys_, 1, Lsn(0), journal->last_synced()).contents(),
            (std::vector<std::string>{"one", "two"}));
}

}  // namespace
}  // namespace vaultfs
