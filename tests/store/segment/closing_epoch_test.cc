// What is left open when a DEK epoch ends: nothing; and what is found open of an epoch that has ended: damage.
#include <string>

#include "store/index/segment_format.h"
#include "tests/store/store_fixture.h"
#include "tests/support/assert_ok.h"

namespace vaultfs {
namespace {

class ClosingEpochTest : public testing::Test {
 protected:
  void SetUp() override {
    vault_.options.closed_epochs_are_whole = true;
    ASSERT_OK(vault_.open());
  }
  static std::string seg(std::uint64_t n) { return "/vault/" + closed_segment_name(ContainerNumber(n)); }
  static std::string open_file(std::uint64_t n) { return "/vault/" + open_segment_name(ContainerNumber(n)); }
  void begin_epoch_2() { fill_keys(vault_.keys, 2); }
  void close_epoch_1() { fill_keys(vault_.keys, 2, ContainerNumber(vault_.store->next_segment().value - 1)); }
  std::size_t open_files() {
    std::size_t count = 0;
    for (const Env::Path& file : vault_.env.files("/vault/segments")) count += file.extension() == ".open" ? 1 : 0;
    return count;
  }
  void expect_there(const Bytes& content) {
    const auto got = vault_.get(test_chunk_id(RecordType::chunk, content));
    ASSERT_OK(got);
    EXPECT_EQ(*got, content);
  }

  TestVault vault_;
  const Bytes a_ = random_content(50'000, 1);
  const Bytes b_ = random_content(50'000, 2);
};

TEST_F(ClosingEpochTest, AnOpenSegmentOfAClosedEpochIsDamageAndPassedOver) {
  const ChunkId id = vault_.must_put(a_);
  ASSERT_OK(vault_.store->sync());
  vault_.store.reset();
  fill_keys(vault_.keys, 2, ContainerNumber(5));
  const Bytes file = vault_.env.read(open_file(1));
  for (const bool read_only : {true, false}) {
    vault_.options.read_only = read_only;
    ASSERT_OK(vault_.open());
    ASSERT_EQ(vault_.recovery.damaged.size(), 1U);
    EXPECT_EQ(vault_.recovery.damaged[0].first, open_segment_name(ContainerNumber(1)));
    EXPECT_EQ(vault_.recovery.damaged[0].second.code, ErrorCode::EpochClosed);
    EXPECT_TRUE(vault_.recovery.recovered_open.empty());
    EXPECT_EQ(vault_.get(id).code(), ErrorCode::ChunkMissing);
    EXPECT_TRUE(vault_.env.read(open_file(1)) == file) << "it stays as it is";
  }
  // Nothing else is blocked: whoever has the content stores it under another number.
  vault_.must_put(a_);
  expect_there(a_);
  EXPECT_EQ(*vault_.store->segment_of(id), ContainerNumber(2));
}

// What an older program closed may have left one; and before the epoch is closed a crash does.
TEST_F(ClosingEpochTest, ElseItIsRecovered) {
  vault_.must_put(a_);
  ASSERT_OK(vault_.store->sync());
  vault_.store.reset();
  const Bytes file = vault_.env.read(open_file(1));
  begin_epoch_2();
  ASSERT_OK(vault_.open());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_there(a_);
  vault_.store.reset();
  vault_.env.remove(seg(1));
  vault_.env.write(open_file(1), file);
  fill_keys(vault_.keys, 2, ContainerNumber(5));
  vault_.options.closed_epochs_are_whole = false;
  ASSERT_OK(vault_.open());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_there(a_);
}

TEST_F(ClosingEpochTest, WhatAFailedSyncLeftIsStoredAnew) {
  vault_.must_put(a_);
  ASSERT_OK(vault_.store->sync());
  vault_.must_put(b_);
  vault_.env.fail_next_sync(1);
  EXPECT_EQ(vault_.store->sync().code(), ErrorCode::IoError);
  vault_.must_put(b_);
  begin_epoch_2();
  ASSERT_OK(vault_.store->close_all_segments());
  EXPECT_FALSE(vault_.env.exists(open_file(1)));
  close_epoch_1();
  expect_there(a_);
  ASSERT_OK(vault_.store->close_all_segments());  // once more
  ASSERT_OK(vault_.store->close_segment());
  EXPECT_EQ(open_files(), 0U);
  vault_.store.reset();
  vault_.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(vault_.open());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_there(a_);
  expect_there(b_);
}

TEST_F(ClosingEpochTest, WhatTheOpeningHadNoRoomForIsClosedOrTheEpochIsNot) {
  vault_.must_put(a_);
  ASSERT_OK(vault_.store->sync());
  vault_.store.reset();
  vault_.env.set_free_bytes(0);  // for its end
  ASSERT_OK(vault_.open());
  ASSERT_EQ(open_files(), 1U);
  begin_epoch_2();
  EXPECT_EQ(vault_.store->close_all_segments().code(), ErrorCode::NoSpace);
  expect_there(a_);
  vault_.env.set_unlimited_space();
  ASSERT_OK(vault_.store->close_all_segments());
  EXPECT_EQ(open_files(), 0U);
  expect_there(a_);
  close_epoch_1();
  ASSERT_OK(vault_.open());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_there(a_);
}

// An empty one is removed, and stays so.
TEST_F(ClosingEpochTest, AnEmptyOneDoesNotComeBack) {
  vault_.env.set_free_bytes(1000);  // for the header
  EXPECT_EQ(vault_.store->put(RecordType::chunk, a_).code(), ErrorCode::NoSpace);
  vault_.env.set_unlimited_space();
  ASSERT_TRUE(vault_.env.exists(open_file(1)));
  begin_epoch_2();
  ASSERT_OK(vault_.store->close_all_segments());
  close_epoch_1();
  vault_.store.reset();
  vault_.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(vault_.open());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  EXPECT_EQ(open_files(), 0U);
}

}  // namespace
}  // namespace vaultfs
