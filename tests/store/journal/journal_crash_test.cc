// The journal on a disk that loses what was not synced, at every step.
#include <string>
#include <vector>

#include "tests/store/journal/journal_test_log.h"

namespace vaultfs {
namespace {

constexpr CrashMode kModes[] = {CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random};

// What a run asked for, and what it was promised.
struct History {
  std::vector<std::string> appended;
  std::size_t promised = 0;  // so many of them were committed
  bool completed = false;    // nothing failed
  bool closed_cleanly = false;
};

// Appends entries of many sizes, the first named by `name`, in several commits and two files.
void run(SimEnv& env, const EpochKeys& keys, const std::string& name, std::uint64_t number, Lsn replayed_to,
         History& history) {
  auto journal = start_journal(env, keys, number, replayed_to);
  if (!journal.ok()) return;
  const auto append = [&](std::size_t size) {
    std::string content = name + ":" + std::to_string(history.appended.size()) + ":";
    Bytes noise(size);
    env.fill_random(noise);
    content += text_of(noise);
    if (!(*journal)->append(EntryOwner::tree, entry_of(content)).ok()) return false;
    history.appended.push_back(content);
    return true;
  };
  const auto commit = [&] {
    if (!(*journal)->commit().ok()) return false;
    history.promised = history.appended.size();
    return true;
  };
  if (!append(10) || !commit()) return;
  if (!append(3000) || !append(0) || !append(600) || !commit()) return;
  if (!append(200)) return;
  if (!(*journal)->rotate(ContainerNumber(1)).ok()) return;
  history.promised = history.appended.size();
  if (!append(100) || !commit()) return;
  if (!append(5000) || !(*journal)->close_cleanly().ok()) return;
  history.promised = history.appended.size();
  history.closed_cleanly = true;
  history.completed = true;
}

// Everything promised, nothing invented, nothing out of order. Gives the outcome.
JournalReplay check(SimEnv& env, const EpochKeys& keys, const History& history) {
  const ReplayedLog log = replay(env, keys);
  EXPECT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  if (!log.outcome.ok()) return {};
  const std::vector<std::string> contents = log.contents();
  EXPECT_GE(contents.size(), history.promised);
  EXPECT_LE(contents.size(), history.appended.size());
  for (std::size_t i = 0; i < contents.size() && i < history.appended.size(); ++i) {
    EXPECT_TRUE(contents[i] == history.appended[i]) << "entry " << i;
  }
  if (history.closed_cleanly) {
    EXPECT_TRUE(log.outcome->clean);
  }
  return *log.outcome;
}

TEST(JournalCrash, EveryPromiseHoldsAtEveryStep) {
  const auto keys = make_test_keys();
  for (const CrashMode mode : kModes) {
    const std::uint64_t seeds = mode == CrashMode::random ? 30 : 1;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      for (std::uint64_t step = 0;; ++step) {
        ASSERT_LT(step, 200U);
        SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)) + " seed " + std::to_string(seed) + " step " +
                     std::to_string(step));
        SimEnv env(seed);
        env.make_directories(kJournalDirectory);
        env.fail_after(step);
        History history;
        run(env, *keys, "first", 1, {}, history);
        env.crash(seed * 1000 + step, mode);
        check(env, *keys, history);
        if (history.completed || ::testing::Test::HasFailure()) break;
      }
    }
  }
}

// A second owner builds on the first one's remains and crashes too, and so does a third; kills without power loss in
// between.
TEST(JournalCrash, PromisesHoldOverSeveralCrashes) {
  const auto keys = make_test_keys();
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    SimEnv env(seed);
    env.make_directories(kJournalDirectory);
    for (int life = 0; life < 4; ++life) {
      const ReplayedLog before = replay(env, *keys);
      ASSERT_TRUE(before.outcome.ok()) << before.outcome.error().message;
      History history;
      history.appended = before.contents();
      history.promised = history.appended.size();  // what a replay gave once, no later one may lose
      env.fail_after(random() % 24);
      run(env, *keys, "life " + std::to_string(life), before.outcome->last_journal.value + 1, before.outcome->last,
          history);
      if (random() % 2 == 0) {
        env.kill_process();
        // The next owner may look, or not, before the power fails as well.
        if (random() % 2 == 0) {
          const JournalReplay seen = check(env, *keys, history);
          if (random() % 2 == 0) {
            ASSERT_TRUE(start_journal(env, *keys, seen.last_journal.value + 1, seen.last).ok());
            history.closed_cleanly = false;
          }
        }
      }
      if (random() % 2 == 0) env.crash(random(), kModes[random() % 3]);
      env.kill_process();
      check(env, *keys, history);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// kill -9 leaves a record that only the page cache has; the next owner builds on it; then the power fails.
TEST(JournalCrash, WhatAReplayBelievesIsDurable) {
  const auto keys = make_test_keys();
  SimEnv env;
  env.make_directories(kJournalDirectory);
  auto journal = start_journal(env, *keys);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE((*journal)->append(EntryOwner::tree, entry_of("one")).ok());
  // The process dies between write and sync.
  env.set_observer([&](SimStep kind, const Env::Path&) {
    if (kind == SimStep::sync) env.kill_process();
  });
  EXPECT_FALSE((*journal)->commit().ok());
  env.set_observer({});
  const ReplayedLog log = replay(env, *keys);
  ASSERT_EQ(log.contents(), std::vector<std::string>{"one"});
  ASSERT_TRUE(start_journal(env, *keys, 2, log.outcome->last).ok());
  env.crash(1, CrashMode::drop_all_unsynced);
  const ReplayedLog after = replay(env, *keys);
  ASSERT_TRUE(after.outcome.ok()) << after.outcome.error().message;
  EXPECT_EQ(after.contents(), std::vector<std::string>{"one"});
}

// A journal in which the entry "one" is committed.
std::unique_ptr<Journal> journal_with_one(SimEnv& env, const EpochKeys& keys) {
  env.make_directories(kJournalDirectory);
  auto journal = start_journal(env, keys).value();
  EXPECT_TRUE(journal->append(EntryOwner::tree, entry_of("one")).ok());
  EXPECT_TRUE(journal->commit().ok());
  return journal;
}

// What was written ahead of small records is no part of the journal: not counted as lost, gone when the file ends.
TEST(JournalCrash, ZerosAheadAreNoTail) {
  const auto keys = make_test_keys();
  SimEnv env;
  const auto journal = journal_with_one(env, *keys);
  const std::uint64_t file_bytes = journal->file_bytes();
  const Bytes bytes = env.read(journal_path(1));
  ASSERT_GT(bytes.size(), file_bytes);
  EXPECT_TRUE(is_all_zero(ByteView(bytes).subspan(file_bytes)));
  // The second finds its place written: no step but its own.
  const std::uint64_t steps = env.steps();
  ASSERT_TRUE(journal->append(EntryOwner::tree, entry_of("two")).ok());
  ASSERT_TRUE(journal->commit().ok());
  EXPECT_EQ(env.steps(), steps + 2);
  EXPECT_EQ(env.read(journal_path(1)).size(), bytes.size());
  // Killed.
  const ReplayedLog log = replay(env, *keys);
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_EQ(log.contents(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(log.outcome->dropped_tail_bytes, 0U);
  // Left for a next one, and closed.
  ASSERT_TRUE(journal->rotate(ContainerNumber(1)).ok());
  EXPECT_LT(env.read(journal_path(1)).size(), bytes.size());
  ASSERT_TRUE(journal->append(EntryOwner::tree, entry_of("three")).ok());
  ASSERT_TRUE(journal->commit().ok());
  const std::uint64_t before_end = journal->file_bytes();
  ASSERT_TRUE(journal->close_cleanly().ok());
  EXPECT_GT(env.read(journal_path(2)).size(), before_end);
  EXPECT_LT(env.read(journal_path(2)).size(), before_end + 4096);
}

// A disk that has room for a record but not for the zeros takes the record.
TEST(JournalCrash, ARecordNeedsNoRoomForZeros) {
  const auto keys = make_test_keys();
  SimEnv env;
  env.make_directories(kJournalDirectory);
  auto journal = start_journal(env, *keys);
  ASSERT_TRUE(journal.ok());
  env.set_free_bytes(64 * 1024);
  ASSERT_TRUE((*journal)->append(EntryOwner::tree, entry_of("one")).ok());
  ASSERT_TRUE((*journal)->commit().ok());
  EXPECT_EQ(env.read(journal_path(1)).size(), (*journal)->file_bytes());
  EXPECT_EQ(replay(env, *keys).contents(), std::vector<std::string>{"one"});
}

TEST(JournalCrash, ATornTailIsDroppedAndCounted) {
  const auto keys = make_test_keys();
  SimEnv env;
  const auto journal = journal_with_one(env, *keys);
  const std::uint64_t good = journal->file_bytes();
  ASSERT_TRUE(journal->append(EntryOwner::tree, Bytes(3000, std::byte{1})).ok());
  ASSERT_TRUE(journal->commit().ok());
  for (std::uint64_t size = journal->file_bytes() - 1; size >= good; --size) {
    env.cut(journal_path(1), size);
    const ReplayedLog log = replay(env, *keys);
    ASSERT_TRUE(log.outcome.ok()) << size;
    ASSERT_EQ(log.contents(), std::vector<std::string>{"one"});
    // Counted in steps of a record's alignment, up to the last one that is not zero.
    const Bytes bytes = env.read(journal_path(1));
    std::uint64_t end = good;
    for (std::uint64_t at = good; at < size; at += 8) {
      const std::uint64_t next = std::min(at + 8, size);
      if (!is_all_zero(ByteView(bytes).subspan(at, next - at))) end = next;
    }
    ASSERT_EQ(log.outcome->dropped_tail_bytes, end - good);
  }
}

TEST(JournalCrash, AFullDiskIsReportedAndWhatWasCommittedStays) {
  const auto keys = make_test_keys();
  for (std::uint64_t room = 0; room < 8000; room += 97) {
    SimEnv env;
    env.make_directories(kJournalDirectory);
    env.set_free_bytes(room);
    History history;
    run(env, *keys, "full", 1, {}, history);
    EXPECT_FALSE(history.completed);
    env.crash(room, CrashMode::random);
    check(env, *keys, history);
  }
}

}  // namespace
}  // namespace vaultfs
