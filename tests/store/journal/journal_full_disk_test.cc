#include "store/journal/journal.h"
#include "store/record/container.h"
#include "tests/store/journal/journal_fixture.h"

namespace vaultfs {
namespace {

class JournalFullDiskTest : public JournalTest {};

INSTANTIATE_TEST_SUITE_P(Suites, JournalFullDiskTest, ::testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha),
                         journal_suite_name);

TEST_P(JournalFullDiskTest, AFullDiskDelaysACommitAndLosesNothing) {
  // However much of the records fits: nothing, a part of the first, one of them.
  for (std::uint64_t room = 0; room < 4000; room += 173) {
    SimEnv env;
    env.make_directories(kJournalDirectory);
    auto journal = start_journal(env, *keys_);
    ASSERT_TRUE(journal.ok());
    append(**journal, "one");
    env.set_free_bytes(4096);  // too little to write zeros ahead, which the next record would go into
    ASSERT_TRUE((*journal)->commit().ok());
    env.set_free_bytes(room);
    const std::string large = incompressible(5000);
    const Lsn second = append(**journal, large);
    EXPECT_EQ((*journal)->commit().code(), ErrorCode::NoSpace);
    EXPECT_FALSE((*journal)->dead());
    const Lsn third = append(**journal, "three");
    EXPECT_EQ((*journal)->commit().code(), ErrorCode::NoSpace);
    EXPECT_EQ((*journal)->commit_up_to(second).code(), ErrorCode::NoSpace);
    EXPECT_LT((*journal)->last_synced(), second);
    EXPECT_GE((*journal)->buffered_bytes(), 5005U);
    if (room % 2 == 0) {
      // Power loss meanwhile.
      env.crash(room, CrashMode::random);
      EXPECT_EQ(replay(env, *keys_).contents(), std::vector<std::string>{"one"});
      continue;
    }
    env.set_unlimited_space();
    const Lsn fourth = append(**journal, "four");
    ASSERT_TRUE((*journal)->commit().ok());
    EXPECT_EQ((*journal)->buffered_bytes(), 0U);
    env.crash(room, CrashMode::drop_all_unsynced);
    const ReplayedLog log = replay(env, *keys_, 1, {}, fourth);
    ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
    EXPECT_EQ(log.contents(), (std::vector<std::string>{"one", large, "three", "four"}));
    ASSERT_EQ(log.entries.size(), 4U);
    EXPECT_EQ(log.entries[1].lsn, second);
    EXPECT_EQ(log.entries[2].lsn, third);
    EXPECT_EQ(log.entries[3].lsn, fourth);
  }
}

TEST_P(JournalFullDiskTest, RecordsThatFoundNoRoomAreWrittenAsTheyWereSealed) {
  auto journal = start();
  const std::uint64_t begin = journal->file_bytes();
  const auto tail = [&] {
    const Bytes all = env_.read(journal_path(1));
    return Bytes(all.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(begin, all.size())), all.end());
  };
  append(*journal, incompressible(5000));
  env_.set_free_bytes(2000);
  Bytes part;
  env_.set_observer([&](SimStep, const Env::Path&) {
    if (tail().size() > part.size()) part = tail();
  });
  EXPECT_EQ(journal->commit().code(), ErrorCode::NoSpace);
  env_.set_observer({});
  ASSERT_GT(part.size(), 1000U);
  EXPECT_EQ(tail().size(), 0U) << "the part that fitted takes no room";
  env_.set_unlimited_space();
  append(*journal, "next");
  ASSERT_TRUE(journal->commit().ok());
  const Bytes whole = tail();
  ASSERT_GT(whole.size(), part.size());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << "sealed twice, with other bytes under a nonce";
}

TEST_P(JournalFullDiskTest, AFullDiskDelaysARotationAndAnEnd) {
  auto journal = start();
  append(*journal, "one");
  env_.set_free_bytes(0);
  EXPECT_EQ(journal->rotate(ContainerNumber(3)).code(), ErrorCode::NoSpace);
  EXPECT_EQ(journal->close_cleanly().code(), ErrorCode::NoSpace);
  EXPECT_FALSE(journal->dead());
  append(*journal, "two");
  // Room for what is buffered, not for another file.
  env_.set_free_bytes(300);
  EXPECT_EQ(journal->rotate(ContainerNumber(3)).code(), ErrorCode::NoSpace);
  EXPECT_FALSE(journal->dead());
  append(*journal, "three");
  env_.set_unlimited_space();
  ASSERT_TRUE(journal->commit().ok());
  const auto rotated = journal->rotate(ContainerNumber(3));
  ASSERT_TRUE(rotated.ok());
  EXPECT_EQ(*rotated, journal->number());
  append(*journal, "four");
  ASSERT_TRUE(journal->close_cleanly().ok());
  const ReplayedLog log = replay(env_, *keys_, 1, {}, journal->last_synced());
  ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
  EXPECT_TRUE(log.outcome->clean);
  EXPECT_EQ(log.contents(), (std::vector<std::string>{"one", "two", "three", "four"}));
}

TEST_P(JournalFullDiskTest, AFullDiskDelaysARotationThatOthersAppendDuring) {
  // The new file's first entry has its LSN by then, and no file to begin.
  for (const bool crash : {false, true}) {
    SimEnv env;
    env.make_directories(kJournalDirectory);
    Journal* self = nullptr;
    Lsn during;
    auto journal = start_journal(env, *keys_, 1, {}, [&]() -> Status {
      if (self != nullptr) during = append(*std::exchange(self, nullptr), "during");
      return ok_status();
    });
    ASSERT_TRUE(journal.ok());
    append(**journal, "before");
    self = journal->get();
    env.set_free_bytes(0);
    EXPECT_EQ((*journal)->rotate(ContainerNumber(3)).code(), ErrorCode::NoSpace);
    ASSERT_FALSE((*journal)->dead());
    append(**journal, "after");
    EXPECT_EQ((*journal)->commit().code(), ErrorCode::NoSpace);
    env.set_unlimited_space();
    ASSERT_TRUE((*journal)->commit_up_to(during).ok());
    EXPECT_EQ((*journal)->buffered_bytes(), 0U);
    std::vector<std::string> expected{"before", kNoChange, "during", "after"};
    if (!crash) {
      ASSERT_TRUE((*journal)->rotate(ContainerNumber(4)).ok());
      append(**journal, "in the new file");
      expected.emplace_back("in the new file");
      ASSERT_TRUE((*journal)->close_cleanly().ok());
    }
    const Lsn synced = (*journal)->last_synced();
    env.crash(1, CrashMode::drop_all_unsynced);
    const ReplayedLog log = replay(env, *keys_, 1, {}, synced);
    ASSERT_TRUE(log.outcome.ok()) << log.outcome.error().message;
    EXPECT_EQ(log.contents(), expected);
    EXPECT_EQ(log.entries.at(1).owner, EntryOwner::catalogue);
    EXPECT_EQ(log.entries.at(2).lsn, during);
  }
}

}  // namespace
}  // namespace vaultfs
