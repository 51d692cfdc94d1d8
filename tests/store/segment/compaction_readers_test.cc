// Compaction beside readers: what somebody may be on his way to stays until he is through.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "store/index/segment_format.h"
#include "store/segment/segment_store.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

constexpr CompactionLimits kAll{0, 1ULL << 40};
constexpr auto kAWhile = std::chrono::milliseconds(50);

class CompactionReadersTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(message(vault_.open()), ""); }
  void close() { ASSERT_EQ(message(vault_.store->close_segment()), ""); }
  static Env::Path segment_path(ContainerNumber number) { return "/vault/" + closed_segment_name(number); }

  TestVault vault_;
};

TEST_F(CompactionReadersTest, ACollectionWaitsForWhoPutSomethingBefore) {
  std::optional<UseGate::Use> use(vault_.store->use());
  std::atomic<bool> begun{false};
  std::jthread collecting([&] {
    vault_.store->begin_collection();
    begun = true;
  });
  std::this_thread::sleep_for(kAWhile);
  EXPECT_FALSE(begun);
  use.reset();
}

TEST_F(CompactionReadersTest, WhatAUseFoundBeforeAllWasRetainedReadsToItsEnd) {
  const ChunkId id = vault_.must_put(random_content(300'000, 1));
  close();
  vault_.store->begin_collection();
  // Finds the id in an extent map that another one takes the place of before the collection comes to it.
  std::optional<UseGate::Use> use(vault_.store->use());
  std::jthread compacting([&] { EXPECT_TRUE(vault_.store->compact({}, kAll).ok()); });
  std::this_thread::sleep_for(kAWhile);
  EXPECT_TRUE(vault_.get(id).ok());
  use.reset();
  compacting.join();
  EXPECT_FALSE(vault_.store->contains(id));
}

TEST_F(CompactionReadersTest, ASegmentGoesOnlyWhenNobodyIsOnHisWayThere) {
  const ChunkId id = vault_.must_put(random_content(300'000, 1));
  vault_.must_put(random_content(300'000, 2));
  close();
  const Env::Path old = segment_path(*vault_.store->segment_of(id));
  vault_.store->begin_collection();
  ASSERT_EQ(message(vault_.store->retain(id)), "");
  // Somebody begins to read while what is needed moves: he may have the old place.
  std::optional<UseGate::Use> use;
  std::jthread reading;
  vault_.env.set_observer([&](SimStep step, const Env::Path&) {
    if (step != SimStep::sync || use) return;
    use.emplace(vault_.store->use());
    reading = std::jthread([&] {
      std::this_thread::sleep_for(kAWhile);
      EXPECT_TRUE(vault_.env.exists(old)) << "a reader is on his way there";
      use.reset();
    });
  });
  const auto outcome = vault_.store->compact({}, kAll);
  reading.join();
  vault_.env.set_observer({});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->removed_segments, 1U);
  EXPECT_FALSE(vault_.env.exists(old));
  EXPECT_TRUE(vault_.get(id).ok());
}

// What the disk does not give for a while is not empty for that.
TEST_F(CompactionReadersTest, ASegmentThatCanNotBeReadStays) {
  const Bytes content = random_content(300'000, 1);
  const ChunkId id = vault_.must_put(content);
  close();
  const Env::Path path = segment_path(*vault_.store->segment_of(id));
  vault_.env.fail_reads(path);
  ASSERT_EQ(message(vault_.open()), "");
  vault_.store->begin_collection();
  ASSERT_EQ(message(vault_.store->retain(id)), "");
  static_cast<void>(vault_.store->compact({}, kAll));
  ASSERT_TRUE(vault_.env.exists(path));
  vault_.env.clear_faults();
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_EQ(*vault_.get(id), content);
}

// A read that meets damage takes another record of the id, but does not settle on one that is just being removed.
TEST_F(CompactionReadersTest, NoReadSettlesInASegmentThatLeaves) {
  const Bytes content = random_content(300'000, 1);
  const ChunkId id = vault_.must_put(content);
  close();
  const ContainerNumber old = *vault_.store->segment_of(id);
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  {
    const UseGate::Use use = vault_.store->use();
    ASSERT_TRUE(vault_.store->reencrypt(id, EpochNumber(2)).ok());
    ASSERT_EQ(message(vault_.store->sync_reencrypted()), "");
  }
  close();
  const ContainerNumber now = *vault_.store->segment_of(id);
  ASSERT_NE(now, old);
  ASSERT_EQ(message(vault_.save_index()), "");
  vault_.store->begin_collection();
  ASSERT_EQ(message(vault_.store->retain(id)), "");
  bool read = false;
  vault_.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step != SimStep::remove || path.extension() != ".index" || std::exchange(read, true)) return;
    vault_.env.flip_bit(segment_path(now), 8 * 100'000);
    const auto got = vault_.get(id);
    EXPECT_TRUE(got.ok() && *got == content);
  });
  ASSERT_TRUE(vault_.store->compact({now}, kAll).ok());
  vault_.env.set_observer({});
  ASSERT_TRUE(read);
  ASSERT_FALSE(vault_.env.exists(segment_path(old)));
  // The damage stays where it is known, and heals when the content comes again.
  EXPECT_EQ(vault_.store->place_of(ChunkIndex::key_of(id))->segment, now);
  EXPECT_EQ(vault_.must_put(content), id);
  EXPECT_EQ(*vault_.get(id), content);
}

}  // namespace
}  // namespace vaultfs
