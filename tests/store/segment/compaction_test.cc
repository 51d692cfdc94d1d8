// Removing segments that nobody needs, and nothing else.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "store/index/segment_format.h"
#include "store/segment/segment_store.h"
#include "store/segment/use_gate.h"
#include "tests/store/store_fixture.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

constexpr CompactionLimits kEverything{0, 1ULL << 40};

class CompactionTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(message(vault_.open()), ""); }

  void close() { ASSERT_EQ(message(vault_.store->close_segment()), ""); }
  CompactionOutcome compact(const std::vector<ChunkId>& needed, const std::set<ContainerNumber>& kept = {},
                            const CompactionLimits& limits = kEverything) {
    vault_.store->begin_collection();
    for (const ChunkId& id : needed) EXPECT_EQ(message(vault_.store->retain(id)), "");
    return finish(kept, limits);
  }
  CompactionOutcome finish(const std::set<ContainerNumber>& kept = {}, const CompactionLimits& limits = kEverything) {
    auto outcome = vault_.store->compact(kept, limits);
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    return outcome.ok() ? *outcome : CompactionOutcome{};
  }
  void expect_content(const ChunkId& id, ByteView content) {
    const auto got = vault_.get(id);
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_TRUE(bytes_equal(*got, content));
  }

  TestVault vault_;
};

TEST_F(CompactionTest, WhatIsNeededMovesAndTheRestGoes) {
  const Bytes needed = random_content(300'000, 1);
  const Bytes garbage = random_content(400'000, 2);
  const ChunkId needed_id = vault_.must_put(needed);
  const ChunkId garbage_id = vault_.must_put(garbage);
  close();
  const std::uint64_t before = vault_.store->stored_bytes();
  const CompactionOutcome outcome = compact({needed_id});
  EXPECT_EQ(outcome.removed_segments, 1U);
  EXPECT_GE(outcome.moved_bytes, needed.size());
  EXPECT_LT(vault_.store->stored_bytes(), before - garbage.size() + 10'000);
  expect_content(needed_id, needed);
  EXPECT_FALSE(vault_.store->contains(garbage_id));
  EXPECT_EQ(vault_.get(garbage_id).code(), ErrorCode::ChunkMissing);
  // What comes again is stored again.
  EXPECT_EQ(vault_.must_put(garbage), garbage_id);
  expect_content(garbage_id, garbage);
  ASSERT_EQ(message(vault_.close_and_save()), "");
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_content(needed_id, needed);
}

TEST_F(CompactionTest, KeptSegmentsAndFullOnesStay) {
  const ChunkId first = vault_.must_put(random_content(300'000, 1));
  close();
  const ChunkId second = vault_.must_put(random_content(300'000, 2));
  close();
  const ContainerNumber number = *vault_.store->segment_of(first);
  EXPECT_EQ(compact({}, {number}).removed_segments, 1U);
  EXPECT_TRUE(vault_.get(first).ok());
  EXPECT_FALSE(vault_.store->contains(second));
  const Bytes third = random_content(300'000, 3);
  const ChunkId third_id = vault_.must_put(third);
  vault_.must_put(random_content(100'000, 4));
  close();
  const CompactionOutcome outcome = compact({third_id}, {number}, {50, 1ULL << 40});
  EXPECT_EQ(outcome.removed_segments, 0U);
  EXPECT_TRUE(vault_.get(third_id).ok());
  // The look has measured what it left.
  const ContainerNumber left = *vault_.store->segment_of(third_id);
  for (const SegmentInfo& segment : vault_.store->segments()) {
    if (segment.number != left) continue;
    EXPECT_GE(segment.unused_bytes, 100'000U);
    EXPECT_LT(segment.unused_bytes, 110'000U);
  }
}

TEST_F(CompactionTest, AnOldIndexDoesNotMissWhatWasRemoved) {
  vault_.must_put(random_content(300'000, 1));
  ASSERT_EQ(message(vault_.close_and_save()), "");
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_EQ(compact({}).removed_segments, 1U);
  vault_.env.crash(7);
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_TRUE(vault_.recovery.damaged.empty()) << vault_.recovery.damaged.front().first;
}

TEST_F(CompactionTest, WhatIsPutMeanwhileIsNeeded) {
  const Bytes known = random_content(300'000, 1);
  const ChunkId id = vault_.must_put(known);
  vault_.must_put(random_content(300'000, 2));
  close();
  vault_.store->begin_collection();
  EXPECT_EQ(vault_.must_put(known), id);  // a hit
  EXPECT_EQ(finish().removed_segments, 1U);
  expect_content(id, known);
}

TEST_F(CompactionTest, APatchNeedsWhatItLiesOver) {
  const Bytes base = random_content(1 << 20, 1);
  const ChunkId base_id = vault_.must_put(base);
  Bytes content = base;
  std::fill_n(content.begin() + 8192, 4096, std::byte{7});
  PatchDraft draft{.base = base_id, .length = 1 << 20, .pages = {}, .content = content, .max_pages = 64};
  draft.pages.set(2);
  const auto put = vault_.store->put_patch(draft);
  ASSERT_TRUE(put.ok() && put->has_value());
  const ChunkId patch_id = (*put)->id;
  close();
  EXPECT_EQ(compact({patch_id}).removed_segments, 1U);
  expect_content(patch_id, content);
  // Only the same patch is made again: its base must not go.
  close();
  vault_.store->begin_collection();
  ASSERT_TRUE(vault_.store->put_patch(draft).ok());
  finish();
  expect_content(patch_id, content);
  close();
  EXPECT_GT(compact({}).removed_segments, 0U);
  EXPECT_FALSE(vault_.store->contains(patch_id));
}

TEST_F(CompactionTest, ADamagedSegmentStays) {
  const ChunkId id = vault_.must_put(random_content(300'000, 1));
  const ChunkId other = vault_.must_put(random_content(300'000, 2));
  close();
  const std::string file = "/vault/segments/" + numbered_name(vault_.store->segment_of(id)->value, "seg");
  vault_.env.flip_bit(file, 8 * 100'000);
  EXPECT_EQ(compact({id, other}).removed_segments, 0U);
  EXPECT_TRUE(vault_.env.exists(file));
  EXPECT_TRUE(vault_.get(other).ok());
}

// Until what is damaged in it was stored anew, or nobody needs it.
TEST_F(CompactionTest, ADamagedSegmentGoesOnceNothingIsLostWithIt) {
  const Bytes content = random_content(300'000, 1);
  const Bytes other = random_content(300'000, 2);
  for (const bool of_footer : {false, true}) {
    for (const bool healed : {true, false}) {
      SCOPED_TRACE(std::string(of_footer ? "footer " : "record ") + (healed ? "healed" : "not needed"));
      const ChunkId id = vault_.must_put(content);
      const ChunkId other_id = vault_.must_put(other);
      close();
      const ContainerNumber segment = *vault_.store->segment_of(id);
      const std::string file = "/vault/" + closed_segment_name(segment);
      const ChunkPlace place = *vault_.store->place_of(ChunkIndex::key_of(id));
      vault_.env.flip_bit(file, 8 * (place.offset + 100'000));
      if (of_footer) vault_.env.flip_bit(file, 8 * (vault_.env.read(file).size() - 20));
      EXPECT_FALSE(vault_.get(id).ok());
      EXPECT_EQ(compact({id, other_id}).removed_segments, 0U);
      if (healed) {
        EXPECT_EQ(vault_.must_put(content), id);
        close();
      }
      const CompactionOutcome outcome = healed ? compact({id, other_id}) : compact({other_id});
      EXPECT_GE(outcome.removed_segments, 1U);
      EXPECT_FALSE(vault_.env.exists(file));
      expect_content(other_id, other);
      if (healed) expect_content(id, content);
      EXPECT_EQ(vault_.store->place_of(ChunkIndex::key_of(id)).has_value(), healed);
      compact({});
    }
  }
}

TEST_F(CompactionTest, ACrashAtAnyStepLosesNothingNeeded) {
  const Bytes needed = random_content(200'000, 1);
  for (std::uint64_t step = 0;; ++step) {
    TestVault vault(Suite::aes_gcm, step + 1);
    ASSERT_EQ(message(vault.open()), "");
    const ChunkId id = vault.must_put(needed);
    vault.must_put(random_content(200'000, 2));
    ASSERT_EQ(message(vault.store->close_segment()), "");
    ASSERT_EQ(message(vault.save_index()), "");
    vault.store->begin_collection();
    ASSERT_EQ(message(vault.store->retain(id)), "");
    vault.env.fail_after(step);
    const bool done = vault.store->compact({}, kEverything).ok();
    const bool reached = vault.env.failure_reached();
    vault.env.crash(step);
    ASSERT_EQ(message(vault.open()), "") << "step " << step;
    EXPECT_TRUE(vault.recovery.damaged.empty()) << "step " << step << ": " << vault.recovery.damaged.front().first;
    const auto got = vault.get(id);
    ASSERT_TRUE(got.ok()) << "step " << step << ": " << got.error().message;
    EXPECT_TRUE(bytes_equal(*got, needed));
    if (done && !reached) {
      EXPECT_GT(step, 5U);
      return;
    }
  }
}

// As long as somebody has it open, a removed file gives nothing back.
class OpenFiles final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    return std::unique_ptr<File>(std::make_unique<Counted>(std::move(file), counts_[path.string()]));
  }
  [[nodiscard]] int of(const std::string& path) { return counts_[path].load(); }

 private:
  class Counted final : public FileWrapper {
   public:
    Counted(std::unique_ptr<File> inner, std::atomic<int>& count) : FileWrapper(std::move(inner)), count_(count) {
      ++count_;
    }
    ~Counted() override { --count_; }

   private:
    std::atomic<int>& count_;
  };
  std::map<std::string, std::atomic<int>> counts_;
};

TEST(CompactedFilesTest, NobodyKeepsARemovedSegmentOpen) {
  TestVault vault;
  OpenFiles env(vault.env);
  const auto blobs = make_directory_blob_store(env, "/vault");
  SegmentRecovery recovery;
  auto store = SegmentStore::open(env, "/vault", *blobs, vault.keys, vault.options, recovery);
  ASSERT_TRUE(store.ok());
  const auto put = (*store)->put(RecordType::chunk, random_content(100'000, 1));
  ASSERT_TRUE(put.ok());
  ASSERT_EQ(message((*store)->close_segment()), "");
  Bytes piece(100);
  ASSERT_EQ(message((*store)->read(put->id, 5, piece)), "");
  const std::string path = "/vault/" + closed_segment_name(ContainerNumber(1));
  ASSERT_EQ(env.of(path), 1) << "read from again soon, as a rule";
  (*store)->begin_collection();
  const auto outcome = (*store)->compact({}, kEverything);
  ASSERT_TRUE(outcome.ok());
  ASSERT_EQ(outcome->removed_segments, 1U);
  EXPECT_EQ(env.of(path), 0);
}

TEST(UseGateTest, AWaitSeesAllThatBeganBefore) {
  UseGate gate;
  std::atomic<std::uint64_t> published{1};
  std::atomic<bool> stop{false};
  std::atomic<bool> sane{true};
  // Values are retired as compaction retires segments: made unreachable, waited for, made invalid.
  std::array<std::atomic<bool>, 2> valid{true, true};
  std::vector<std::jthread> users;
  for (int i = 0; i < 3; ++i) {
    users.emplace_back([&] {
      while (!stop) {
        const UseGate::Use use = gate.enter();
        const std::uint64_t seen = published.load();
        for (int look = 0; look < 20; ++look) {
          if (!valid[seen % 2].load()) sane = false;
        }
      }
    });
  }
  for (int round = 0; round < 2000; ++round) {
    const std::uint64_t old = published.load();
    valid[(old + 1) % 2] = true;
    published = old + 1;
    gate.wait_for_earlier();
    valid[old % 2] = false;
  }
  stop = true;
  users.clear();
  EXPECT_TRUE(sane.load());
}

}  // namespace
}  // namespace vaultfs
