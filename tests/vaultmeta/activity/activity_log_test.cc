#include "vaultmeta/activity/activity_log.h"

#include <gtest/gtest.h>

#include "store/record/container.h"
#include "store/record/record.h"
#include "tests/support/sim_env.h"
#include "tests/support/test_epoch_keys.h"

namespace vaultfs {
namespace {

const Env::Path kDirectory = "/activity";

class ActivityLogTest : public testing::Test {
 protected:
  ActivityLogTest() { env_.make_directories(kDirectory); }

  std::unique_ptr<ActivityLog> open(bool read_only = false, std::uint64_t known = 0, const Digest& chain = {}) {
    auto log = ActivityLog::open(env_, kDirectory, *keys_, read_only, known, chain);
    EXPECT_TRUE(log.ok());
    return log.ok() ? std::move(*log) : nullptr;
  }

  static ActivityEntry entry(const std::string& subject) {
    ActivityEntry entry;
    entry.operation = "backup.complete";
    entry.outcome = "Succeeded";
    entry.subject = subject;
    entry.detail = "job 1";
    entry.uid = 1000;
    return entry;
  }

  static std::string subjects(ActivityLog& log) {
    const auto entries = log.entries();
    if (!entries.ok()) return std::string(error_name(entries.code())) + ": " + entries.error().message;
    std::string all;
    for (const ActivityEntry& entry : *entries) all += entry.subject;
    return all;
  }

  Env::Path file(int number) const { return kDirectory / ("000000000000000" + std::to_string(number) + ".activity"); }

  SimEnv env_;
  std::unique_ptr<EpochKeys> keys_ = make_test_keys();
  ActivityLog::End end_;
};

TEST_F(ActivityLogTest, KeepsEntriesInOrderOverOpenings) {
  auto log = open();
  EXPECT_EQ(subjects(*log), "");
  ASSERT_TRUE(log->append(entry("a")).ok());
  env_.sim_clock().advance_seconds(5);
  ASSERT_TRUE(log->append(entry("b")).ok());
  log = open();
  ASSERT_TRUE(log->append(entry("c")).ok());
  log->roll();
  ASSERT_TRUE(log->append(entry("d")).ok());
  EXPECT_EQ(log->count(), 4U);
  EXPECT_EQ(env_.files(kDirectory).size(), 3U);
  auto reader = open(true, log->count(), log->chain());
  const auto entries = reader->entries();
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 4U);
  EXPECT_EQ((*entries)[1].number, 2U);
  EXPECT_EQ((*entries)[1].uid, 1000U);
  EXPECT_EQ((*entries)[1].detail, "job 1");
  EXPECT_EQ((*entries)[1].time.value - (*entries)[0].time.value, 5'000'000'000);
  EXPECT_EQ((*entries)[3].chain, log->chain());
  EXPECT_EQ(reader->append(entry("x")).code(), ErrorCode::ReadOnly);
}

TEST_F(ActivityLogTest, CutsOverlongTexts) {
  auto log = open();
  ActivityEntry long_entry = entry(std::string(3000, 's'));
  long_entry.detail = std::string(100'000, 'd');
  ASSERT_TRUE(log->append(long_entry).ok());
  const auto entries = open()->entries();
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->front().subject.size(), 512U);
  EXPECT_EQ(entries->front().detail.size(), 4096U);
}

TEST_F(ActivityLogTest, AcknowledgedEntriesSurviveACrashAtEveryStep) {
  for (const CrashMode mode : {CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random}) {
    for (std::uint64_t steps = 0;; ++steps) {
      SimEnv env(steps + 1);
      env.make_directories(kDirectory);
      env.fail_after(steps);
      std::string promised;
      bool completed = true;
      {
        auto log = ActivityLog::open(env, kDirectory, *keys_, false, 0, {});
        ASSERT_TRUE(log.ok());
        for (const char* subject : {"a", "b", "c", "d"}) {
          if (subject[0] == 'c') (*log)->roll();
          if ((*log)->append(entry(subject)).ok()) {
            promised += subject;
          } else {
            completed = false;
          }
        }
      }
      env.crash(steps, mode);
      auto log = ActivityLog::open(env, kDirectory, *keys_, false, 0, {});
      ASSERT_TRUE(log.ok());
      const std::string found = subjects(**log);
      EXPECT_EQ(found.substr(0, promised.size()), promised) << steps;
      EXPECT_LE(found.size(), promised.size() + 1) << steps;
      ASSERT_TRUE((*log)->append(entry("z")).ok());
      EXPECT_EQ(subjects(**log), found + "z");
      const auto report = (*log)->verify();  // what a crash leaves is no damage
      ASSERT_TRUE(report.ok());
      EXPECT_TRUE(report->damage.empty()) << steps << ": " << report->damage.front().error.message;
      if (completed) break;
    }
  }
}

// The same entries, in other files than the head says: only somebody else can have written them.
TEST_F(ActivityLogTest, TheHeadNamesTheFileOfTheLastEntry) {
  const auto write = [this](const std::vector<std::string>& files) {
    for (const Env::Path& path : env_.files(kDirectory)) env_.remove(path);
    auto log = open();
    for (const std::string& subjects_of_file : files) {
      for (const char subject : subjects_of_file) ASSERT_TRUE(log->append(entry(std::string(1, subject))).ok());
      log->roll();
    }
    const ActivityLog::End end = log->end();
    EXPECT_EQ(end.entries, 3U);
    EXPECT_EQ(end.chain, log->chain());
    EXPECT_EQ(end.file, ContainerNumber(files.size()));
    end_ = end;
  };
  const auto found = [this](const ActivityLog::End& known, bool read_only = true) {
    auto log = ActivityLog::open(env_, kDirectory, *keys_, read_only, known.entries, known.chain, false, known.file);
    EXPECT_TRUE(log.ok()) << "it blocks nothing";
    const auto report = (*log)->verify();
    EXPECT_TRUE(report.ok());
    const std::string text = subjects(**log);
    EXPECT_EQ(report->damage.empty(), text.size() < 10) << text;
    if (!read_only) {
      EXPECT_TRUE((*log)->append(entry("z")).ok());
      EXPECT_EQ((*log)->count(), known.entries + 1);
    }
    return text;
  };
  write({"ab", "c"});
  const ActivityLog::End known = end_;
  EXPECT_EQ(found(known), "abc");
  EXPECT_EQ(found(known, false), "abc") << "what comes later may stand in a later file";
  EXPECT_EQ(found(known), "abcz");
  write({"abc"});
  ASSERT_EQ(end_.chain, known.chain);
  EXPECT_NE(found(known).find("it is not in activity/0000000000000002.activity"), std::string::npos);
  EXPECT_NE(found(known, false).find("it is not in activity/0000000000000002.activity"), std::string::npos);
  write({"a", "b", "c"});
  EXPECT_NE(found(known).find("it stands in a later file"), std::string::npos);
}

TEST_F(ActivityLogTest, AnAppendThatFailedIsReplacedByTheNext) {
  auto log = open();
  ASSERT_TRUE(log->append(entry("a")).ok());
  env_.fail_next_sync(1);
  EXPECT_FALSE(log->append(entry("lost")).ok());  // its bytes may well be in the file
  ASSERT_TRUE(log->append(entry("b")).ok());
  EXPECT_EQ(log->count(), 2U);
  EXPECT_EQ(subjects(*log), "ab");
  EXPECT_EQ(subjects(*open(true, log->count(), log->chain())), "ab");
}

// After a failed sync the kernel shows what was written until the next restart, and has lost it then.
TEST_F(ActivityLogTest, TheNextOwnerDoesNotGoOnFromAnAppendThatFailed) {
  for (const bool first : {true, false}) {
    auto log = open();
    if (!first) {
      ASSERT_TRUE(log->append(entry("a")).ok());
    }
    env_.fail_next_sync(1);
    EXPECT_FALSE(log->append(entry("lost")).ok());
    env_.kill_process();
    log = open();
    ASSERT_TRUE(log->append(entry("b")).ok());
    const std::uint64_t known = log->count();
    const Digest chain = log->chain();
    env_.crash(1, CrashMode::drop_all_unsynced);
    EXPECT_EQ(subjects(*open(true, known, chain)), first ? "b" : "bab");
  }
}

TEST_F(ActivityLogTest, NamesTheFirstEntryThatIsMissing) {
  auto log = open();
  for (const char* subject : {"a", "b"}) ASSERT_TRUE(log->append(entry(subject)).ok());
  log->roll();
  for (const char* subject : {"c", "d"}) ASSERT_TRUE(log->append(entry(subject)).ok());
  const std::uint64_t known = log->count();
  const Digest chain = log->chain();
  const SimEnv::Snapshot whole = env_.snapshot();

  env_.remove(file(1));
  EXPECT_NE(subjects(*open(true, known, chain)).find("DamagedActivityLog: activity entry 1:"), std::string::npos);
  env_.restore(whole);
  env_.remove(file(2));
  auto shorter = open(false, known, chain);
  EXPECT_NE(subjects(*shorter).find("DamagedActivityLog: activity entry 3:"), std::string::npos);
  // What is written from then on does not hide the gap.
  ASSERT_TRUE(shorter->append(entry("e")).ok());
  EXPECT_EQ(shorter->count(), 5U);
  EXPECT_NE(subjects(*shorter).find("DamagedActivityLog: activity entry 3:"), std::string::npos);
  EXPECT_NE(subjects(*open()).find("DamagedActivityLog: activity entry 3:"), std::string::npos);
  env_.restore(whole);
  env_.cut(file(2), env_.read(file(2)).size() - 8);
  EXPECT_NE(subjects(*open(true, known, chain)).find("DamagedActivityLog: activity entry 4:"), std::string::npos);
}

TEST_F(ActivityLogTest, FindsEveryChangedBit) {
  auto log = open();
  for (const char* subject : {"a", "b"}) ASSERT_TRUE(log->append(entry(subject)).ok());
  log->roll();
  ASSERT_TRUE(log->append(entry("c")).ok());
  const std::uint64_t known = log->count();
  const Digest chain = log->chain();
  const SimEnv::Snapshot whole = env_.snapshot();
  for (const int number : {1, 2}) {
    const std::uint64_t bits = env_.read(file(number)).size() * 8;
    for (std::uint64_t bit = 0; bit < bits; bit += 3) {
      env_.restore(whole);
      env_.flip_bit(file(number), bit);
      auto damaged = ActivityLog::open(env_, kDirectory, *keys_, true, known, chain);
      ASSERT_TRUE(damaged.ok());
      const auto entries = (*damaged)->entries();
      ASSERT_FALSE(entries.ok()) << "file " << number << " bit " << bit;
      EXPECT_EQ(entries.code(), ErrorCode::DamagedActivityLog);
    }
  }
}

TEST_F(ActivityLogTest, AnotherHistoryOfTheSameLengthIsFound) {
  auto log = open();
  ASSERT_TRUE(log->append(entry("a")).ok());
  const SimEnv::Snapshot before = env_.snapshot();
  ASSERT_TRUE(log->append(entry("b")).ok());
  const Digest chain = log->chain();
  env_.restore(before);
  log = open();
  ASSERT_TRUE(log->append(entry("x")).ok());
  EXPECT_NE(subjects(*open(true, 2, chain)).find("DamagedActivityLog: activity entry 2:"), std::string::npos);
}

TEST_F(ActivityLogTest, ASealedVaultTakesNoEntries) {
  auto log = open();
  ASSERT_TRUE(log->append(entry("a")).ok());
  keys_->wipe();
  EXPECT_EQ(log->append(entry("b")).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(log->entries().code(), ErrorCode::KeyRevoked);
}

TEST_F(ActivityLogTest, NothingIsAddedWithTheKeyOfAClosedEpoch) {
  auto log = open();
  for (const char* subject : {"a", "b"}) ASSERT_TRUE(log->append(entry(subject)).ok());
  const Digest chain = log->chain();
  // Whoever has the old key goes on in the same file, or in one of his own.
  for (const bool own_file : {false, true}) {
    if (own_file) log = open();
    ASSERT_TRUE(log->append(entry("x")).ok());
    keys_ = make_test_keys(Suite::aes_gcm, 2, 0, 1);
    for (const bool read_only : {false, true}) {
      auto later = ActivityLog::open(env_, kDirectory, *keys_, read_only, 2, chain, true);
      ASSERT_TRUE(later.ok());
      EXPECT_EQ((*later)->count(), 2U);
      const auto entries = (*later)->entries();
      ASSERT_EQ(entries.code(), ErrorCode::DamagedActivityLog);
      EXPECT_NE(entries.error().message.find("activity entry 3: "), std::string::npos) << entries.error().message;
      EXPECT_NE(entries.error().message.find("closed"), std::string::npos) << entries.error().message;
    }
    // Where the head does not name the keyring that closed the epoch, that tells nothing.
    EXPECT_EQ(subjects(*open(true, 2, chain)), "abx");
    keys_ = make_test_keys();
    if (!own_file) {
      env_.remove(file(1));
      log = open();
      for (const char* subject : {"a", "b"}) ASSERT_TRUE(log->append(entry(subject)).ok());
      log.reset();
    }
  }
}

TEST_F(ActivityLogTest, EntriesOfBeforeTheEpochWasClosedStay) {
  auto log = open();
  for (const char* subject : {"a", "b"}) ASSERT_TRUE(log->append(entry(subject)).ok());
  const std::uint64_t known = log->count();
  const Digest chain = log->chain();
  keys_ = make_test_keys(Suite::aes_gcm, 2, 0, 1);
  auto later = ActivityLog::open(env_, kDirectory, *keys_, false, known, chain, true);
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(subjects(**later), "ab");
  ASSERT_TRUE((*later)->append(entry("c")).ok());
  EXPECT_EQ(subjects(**later), "abc");
}

}  // namespace
}  // namespace vaultfs
