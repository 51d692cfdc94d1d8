#include "store/segment/segment_store.h"

#include <atomic>
#include <thread>

#include "store/index/segment_format.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class SegmentStoreTest : public testing::TestWithParam<Suite> {
 protected:
  SegmentStoreTest() : vault_(GetParam()) {}
  void must_open() {
    const Status opened = vault_.open();
    ASSERT_TRUE(opened.ok()) << message(opened);
  }
  void expect_content(const ChunkId& id, const Bytes& content) {
    const auto got = vault_.get(id);
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_EQ(*got, content);
  }
  static std::string seg(std::uint64_t n) { return "/vault/" + closed_segment_name(ContainerNumber(n)); }
  static std::string open_file(std::uint64_t n) { return "/vault/" + open_segment_name(ContainerNumber(n)); }
  TestVault vault_;
};

INSTANTIATE_TEST_SUITE_P(Suites, SegmentStoreTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(SegmentStoreTest, StoresOnceAndReadsAnyRange) {
  must_open();
  const Bytes content = text_content(kMiB - 3, 1);
  const auto first = vault_.store->put(RecordType::chunk, content);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(first->stored);
  EXPECT_GT(first->stored_bytes, 0U);
  const auto again = vault_.store->put(RecordType::chunk, content);
  EXPECT_FALSE(again->stored);
  EXPECT_EQ(again->id, first->id);
  EXPECT_EQ(vault_.store->chunk_count(), 1U);
  EXPECT_EQ(*vault_.store->length(first->id), content.size());
  for (const std::uint32_t offset : {0U, 1U, 65535U, 65536U, 65537U, 700'000U, 1'048'000U}) {
    for (const std::uint32_t size : {1U, 4096U, 65536U, 65537U, 300'000U}) {
      if (offset + size > content.size()) continue;
      Bytes out(size);
      ASSERT_TRUE(vault_.store->read(first->id, offset, out).ok());
      ASSERT_TRUE(bytes_equal(out, ByteView(content).subspan(offset, size)));
    }
  }
  Bytes beyond(2);
  EXPECT_EQ(vault_.store->read(first->id, static_cast<std::uint32_t>(content.size() - 1), beyond).code(),
            ErrorCode::OutOfRange);
  EXPECT_EQ(vault_.store->read(ChunkId(), 0, beyond).code(), ErrorCode::ChunkMissing);
  EXPECT_EQ(*vault_.store->read_verified(RecordType::chunk, first->id), content);
  EXPECT_EQ(vault_.store->read_verified(RecordType::map_page, first->id).code(), ErrorCode::ChunkMismatch);
}

TEST_P(SegmentStoreTest, RefusesSizesItCannotHold) {
  must_open();
  EXPECT_EQ(vault_.store->put(RecordType::chunk, Bytes()).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(vault_.store->put(RecordType::chunk, Bytes(kMiB + 1)).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(vault_.store->put(RecordType::journal_entries, Bytes(10)).code(), ErrorCode::InvalidArgument);
  const Bytes page = random_content(16 * kMiB, 1);  // larger than a segment of this test
  const ChunkId id = vault_.must_put(page, RecordType::map_page);
  EXPECT_EQ(*vault_.store->read_verified(RecordType::map_page, id), page);
}

TEST_P(SegmentStoreTest, RollsOverAndReopensFromTheIndex) {
  must_open();
  std::map<ChunkId, Bytes> all;
  for (std::uint64_t i = 0; i < 12; ++i) {
    const Bytes content = random_content(kMiB - i, i);
    all[vault_.must_put(content)] = content;
  }
  EXPECT_GE(vault_.store->segments().size(), 3U);
  ASSERT_TRUE(vault_.close_and_save().ok());
  EXPECT_EQ(vault_.env.files("/vault/index").size(), 1U);
  must_open();
  EXPECT_FALSE(vault_.recovery.index_rebuilt);
  EXPECT_EQ(vault_.recovery.index_entries, all.size());
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  for (const auto& [id, content] : all) expect_content(id, content);
  const ContainerNumber next = vault_.store->next_segment();
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, text_content(100, 1))->stored);
  EXPECT_EQ(*vault_.store->segment_of(test_chunk_id(RecordType::chunk, text_content(100, 1))), next);
}

TEST_P(SegmentStoreTest, IndexMissingDamagedOrOlderIsMadeGood) {
  must_open();
  const Bytes a = text_content(5000, 1);
  const ChunkId id_a = vault_.must_put(a);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const Bytes old_index = vault_.env.read(vault_.env.files("/vault/index").at(0));
  must_open();
  const Bytes b = random_content(5000, 2);
  const ChunkId id_b = vault_.must_put(b);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const auto index = vault_.env.files("/vault/index").at(0);
  const Bytes new_index = vault_.env.read(index);

  for (std::uint64_t bit : {3U, 900U, 2000U}) {
    vault_.env.flip_bit(index, bit);
    must_open();
    EXPECT_TRUE(vault_.recovery.index_rebuilt);
    expect_content(id_a, a);
    expect_content(id_b, b);
    vault_.env.write(index, new_index);
  }
  vault_.env.remove("/vault/index");
  must_open();
  EXPECT_TRUE(vault_.recovery.index_rebuilt);
  expect_content(id_b, b);
  // An older index: what it lacks comes from footers.
  vault_.env.write("/vault/index/0000000000000001.index", old_index);
  must_open();
  EXPECT_FALSE(vault_.recovery.index_rebuilt);
  EXPECT_EQ(vault_.recovery.index_entries, 1U);
  expect_content(id_a, a);
  expect_content(id_b, b);
}

TEST_P(SegmentStoreTest, CrashedOpenSegmentIsRecoveredByTheOwnerOnly) {
  must_open();
  const Bytes a = text_content(70'000, 1);
  const ChunkId id = vault_.must_put(a);
  ASSERT_TRUE(vault_.store->sync().ok());
  vault_.store.reset();
  vault_.env.crash(1, CrashMode::keep_all);
  ASSERT_TRUE(vault_.env.exists(open_file(1)));
  const auto before = vault_.env.steps();
  vault_.options.read_only = true;
  must_open();
  expect_content(id, a);
  EXPECT_EQ(vault_.store->put(RecordType::chunk, text_content(9, 9)).code(), ErrorCode::ReadOnly);
  EXPECT_EQ(vault_.env.steps(), before) << "a read-only store must not write";
  vault_.options.read_only = false;
  must_open();
  EXPECT_EQ(vault_.recovery.recovered_open, std::vector<ContainerNumber>{ContainerNumber(1)});
  EXPECT_FALSE(vault_.env.exists(open_file(1)));
  expect_content(id, a);
  EXPECT_FALSE(vault_.store->put(RecordType::chunk, a)->stored);
  EXPECT_GE(vault_.store->next_segment(), ContainerNumber(2));
}

// Every bit of a small closed segment, without an index: each chunk reads back as it was, or a named error.
TEST_P(SegmentStoreTest, EveryBitFlipIsAnErrorOrHarmless) {
  must_open();
  const Bytes a = text_content(300, 1);
  const Bytes b = random_content(130, 2);
  const ChunkId id_a = vault_.must_put(a);
  const ChunkId id_b = vault_.must_put(b, RecordType::map_page);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  vault_.store.reset();
  const Bytes good = vault_.env.read(seg(1));
  vault_.options.read_only = true;
  std::size_t unreadable = 0;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    vault_.env.flip_bit(seg(1), bit);
    ASSERT_TRUE(vault_.open().ok());
    bool failed = false;
    for (const auto& [id, content] : {std::pair{id_a, a}, std::pair{id_b, b}}) {
      const auto got = vault_.get(id);
      if (got.ok()) {
        ASSERT_EQ(*got, content) << "bit " << bit;
      } else {
        ASSERT_TRUE(is_named_damage(got.code())) << "bit " << bit << error_name(got.code());
        failed = true;
      }
    }
    unreadable += failed ? 1U : 0U;
    vault_.env.flip_bit(seg(1), bit);
  }
  EXPECT_GT(unreadable, good.size() * 2);
  for (std::size_t size = 0; size < good.size(); size += 7) {
    vault_.env.cut(seg(1), size);
    ASSERT_TRUE(vault_.open().ok());
    EXPECT_FALSE(vault_.recovery.damaged.empty()) << size;
    for (const auto& [id, content] : {std::pair{id_a, a}, std::pair{id_b, b}}) {
      if (const auto got = vault_.get(id); got.ok()) {
        ASSERT_EQ(*got, content);
      }
    }
    vault_.env.write(seg(1), good);
  }
}

TEST_P(SegmentStoreTest, SwappedForeignAndMissingSegmentsAreNamed) {
  must_open();
  const Bytes a = text_content(3000, 1);
  const Bytes b = text_content(3000, 2);
  const ChunkId id_a = vault_.must_put(a);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const ChunkId id_b = vault_.must_put(b);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const Bytes file_a = vault_.env.read(seg(1));
  const Bytes file_b = vault_.env.read(seg(2));
  vault_.env.write(seg(1), file_b);
  vault_.env.write(seg(2), file_a);
  must_open();
  EXPECT_TRUE(is_named_damage(vault_.get(id_a).code()));
  EXPECT_TRUE(is_named_damage(vault_.get(id_b).code()));
  vault_.env.write(seg(1), file_a);
  vault_.env.remove(seg(2));
  must_open();
  expect_content(id_a, a);
  EXPECT_EQ(vault_.get(id_b).code(), ErrorCode::SegmentMissing);
  ASSERT_EQ(vault_.recovery.damaged.size(), 1U);
  EXPECT_EQ(vault_.recovery.damaged[0].second.code, ErrorCode::SegmentMissing);
  // What is damaged does not count as stored.
  EXPECT_FALSE(vault_.store->contains(id_b));
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, b)->stored);
  expect_content(id_b, b);

  TestVault other(GetParam(), 7);
  EpochKeys other_keys(test_vault_id(0x33), GetParam());
  fill_keys(other_keys);
  auto foreign = SegmentStore::open(other.env, "/vault", *other.blobs, other_keys, other.options, other.recovery);
  ASSERT_TRUE(foreign.ok());
  ASSERT_TRUE((*foreign)->put(RecordType::chunk, a).ok());
  ASSERT_TRUE((*foreign)->close_segment().ok());
  vault_.store.reset();
  vault_.env.remove("/vault/index");
  vault_.env.write(seg(1), other.env.read(seg(1)));
  must_open();
  EXPECT_FALSE(vault_.get(id_a).ok());
  ASSERT_FALSE(vault_.recovery.damaged.empty());
  EXPECT_EQ(vault_.recovery.damaged[0].second.code, ErrorCode::DamagedHeader);
}

// Two records of one segment in each other's place: both are authentic, neither is what the index says.
TEST_P(SegmentStoreTest, SwappedRecordsAreAMismatch) {
  must_open();
  const Bytes a = random_content(1000, 1);
  const Bytes b = random_content(1000, 2);
  const ChunkId id_a = vault_.must_put(a);
  const ChunkId id_b = vault_.must_put(b);
  ASSERT_TRUE(vault_.close_and_save().ok());
  Bytes file = vault_.env.read(seg(1));
  const std::size_t size = RecordHeader::decode(ByteView(file).subspan(160))->stored_bytes();
  std::swap_ranges(file.begin() + 160, file.begin() + 160 + static_cast<std::ptrdiff_t>(size),
                   file.begin() + 160 + static_cast<std::ptrdiff_t>(size));
  vault_.env.write(seg(1), file);
  must_open();
  EXPECT_EQ(vault_.get(id_a).code(), ErrorCode::ChunkMismatch);
  EXPECT_EQ(vault_.get(id_b).code(), ErrorCode::ChunkMismatch);
}

TEST_P(SegmentStoreTest, DamageFoundByAReadMakesTheNextPutStoreAnew) {
  must_open();
  const Bytes a = random_content(10'000, 1);
  const ChunkId id = vault_.must_put(a);
  ASSERT_TRUE(vault_.close_and_save().ok());
  vault_.env.flip_bit(seg(1), (160 + 500) * 8);
  must_open();
  EXPECT_FALSE(vault_.store->put(RecordType::chunk, a)->stored) << "nobody has seen the damage yet";
  EXPECT_EQ(vault_.get(id).code(), ErrorCode::AuthenticationFailed);
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, a)->stored);
  expect_content(id, a);
}

TEST_P(SegmentStoreTest, SegmentAboveAClosedEpochIsRefused) {
  must_open();
  const ChunkId id = vault_.must_put(text_content(100, 1));
  ASSERT_TRUE(vault_.store->close_segment().ok());
  vault_.must_put(text_content(100, 2));
  ASSERT_TRUE(vault_.store->close_segment().ok());
  fill_keys(vault_.keys, 2, ContainerNumber(1));
  must_open();
  EXPECT_TRUE(vault_.get(id).ok());
  ASSERT_EQ(vault_.recovery.damaged.size(), 1U);
  EXPECT_EQ(vault_.recovery.damaged[0].second.code, ErrorCode::EpochClosed);
  EXPECT_FALSE(vault_.get(test_chunk_id(RecordType::chunk, text_content(100, 2))).ok());
}

TEST_P(SegmentStoreTest, NewEpochStartsANewSegment) {
  must_open();
  vault_.must_put(text_content(100, 1));
  fill_keys(vault_.keys, 2, ContainerNumber(1));
  const ChunkId id = vault_.must_put(text_content(100, 2));
  EXPECT_EQ(*vault_.store->segment_of(id), ContainerNumber(2));
  ASSERT_TRUE(vault_.close_and_save().ok());
  must_open();
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  EXPECT_TRUE(vault_.get(id).ok());
}

TEST_P(SegmentStoreTest, RevocationStopsReadsAndWritesUntilTheKeysReturn) {
  must_open();
  const Bytes a = text_content(2000, 1);
  const ChunkId id = vault_.must_put(a);
  vault_.keys.wipe();
  vault_.store->drop_ciphers();
  EXPECT_EQ(vault_.get(id).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(vault_.store->put(RecordType::chunk, text_content(9, 9)).code(), ErrorCode::KeyRevoked);
  EXPECT_TRUE(vault_.store->sync().ok()) << "what was acknowledged can still be made durable";
  fill_keys(vault_.keys);
  expect_content(id, a);
  const Bytes b = text_content(2000, 2);
  const ChunkId id_b = vault_.must_put(b);
  ASSERT_TRUE(vault_.close_and_save().ok());
  must_open();
  expect_content(id, a);
  expect_content(id_b, b);
}

TEST_P(SegmentStoreTest, FailedWriteLosesOneRecordOnly) {
  must_open();
  const Bytes a = random_content(9000, 1);
  const Bytes b = random_content(9000, 2);
  const ChunkId id_a = vault_.must_put(a);
  vault_.env.fail_next_write(1, ErrorCode::NoSpace);
  EXPECT_EQ(vault_.store->put(RecordType::chunk, b).code(), ErrorCode::NoSpace);
  const ChunkId id_b = test_chunk_id(RecordType::chunk, b);
  EXPECT_FALSE(vault_.store->contains(id_b));
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, b)->stored);
  EXPECT_TRUE(vault_.store->sync().ok());
  ASSERT_TRUE(vault_.close_and_save().ok());
  must_open();
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_content(id_a, a);
  expect_content(id_b, b);
}

TEST_P(SegmentStoreTest, FailedSyncForgetsWhatWasNotDurable) {
  must_open();
  const Bytes safe = random_content(9000, 1);
  const Bytes lost = random_content(9000, 2);
  const ChunkId id_safe = vault_.must_put(safe);
  ASSERT_TRUE(vault_.store->sync().ok());
  const ChunkId id_lost = vault_.must_put(lost);
  vault_.env.fail_next_sync(1);
  EXPECT_EQ(vault_.store->sync().code(), ErrorCode::IoError);
  expect_content(id_safe, safe);
  EXPECT_FALSE(vault_.store->contains(id_lost));
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, lost)->stored);
  ASSERT_TRUE(vault_.store->sync().ok());
  vault_.store.reset();
  vault_.env.crash(1, CrashMode::drop_all_unsynced);
  must_open();
  expect_content(id_safe, safe);
  expect_content(id_lost, lost);
}

TEST_P(SegmentStoreTest, FailedSyncWithinARolloverIsReportedByTheNextSync) {
  must_open();
  vault_.must_put(random_content(kMiB, 1));
  vault_.must_put(random_content(kMiB, 2));
  vault_.must_put(random_content(kMiB, 3));
  // The fourth does not fit: first the new segment's header is synced, then the full one.
  std::atomic<int> syncs = 0;
  vault_.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step == SimStep::sync && path == open_file(1) && syncs++ == 0) vault_.env.fail_next_sync(1);
  });
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, random_content(kMiB, 4))->stored);
  EXPECT_EQ(syncs, 1);
  EXPECT_EQ(vault_.store->sync().code(), ErrorCode::IoError);
  EXPECT_TRUE(vault_.store->sync().ok());
  EXPECT_FALSE(vault_.store->contains(test_chunk_id(RecordType::chunk, random_content(kMiB, 1))));
  EXPECT_TRUE(vault_.store->contains(test_chunk_id(RecordType::chunk, random_content(kMiB, 4))));
}

TEST_P(SegmentStoreTest, FullDiskWhileClosingIsHealedByTheNextClose) {
  must_open();
  const Bytes a = random_content(50'000, 1);
  const ChunkId id = vault_.must_put(a);
  vault_.env.fail_next_write(1, ErrorCode::NoSpace);
  EXPECT_EQ(vault_.store->close_segment().code(), ErrorCode::NoSpace);
  expect_content(id, a);
  EXPECT_TRUE(vault_.store->sync().ok());
  EXPECT_TRUE(vault_.store->close_segment().ok());
  EXPECT_TRUE(vault_.env.exists(seg(1)));
  expect_content(id, a);
}

TEST_P(SegmentStoreTest, ThreadsWithOverlappingContentStoreEachChunkOnce) {
  must_open();
  constexpr std::uint64_t kChunks = 60;
  std::atomic<std::uint64_t> stored = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kChunks; ++i) {
        const std::uint64_t n = (i * (t % 2 == 0 ? 1 : 7) + t) % kChunks;
        const Bytes content = n % 2 == 0 ? random_content(200'000 + n, n) : text_content(300'000 + n, n);
        const auto outcome = vault_.store->put(RecordType::chunk, content);
        ASSERT_TRUE(outcome.ok());
        stored += outcome->stored ? 1U : 0U;
        if (i % 16 == t) {
          ASSERT_TRUE(vault_.store->sync().ok());
        }
        Bytes out(content.size());
        ASSERT_TRUE(vault_.store->read(outcome->id, 0, out).ok());
        ASSERT_EQ(out, content);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored, kChunks);
  EXPECT_EQ(vault_.store->chunk_count(), kChunks);
  ASSERT_TRUE(vault_.close_and_save().ok());
  vault_.env.remove("/vault/index");
  must_open();
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  for (std::uint64_t n = 0; n < kChunks; ++n) {
    const Bytes content = n % 2 == 0 ? random_content(200'000 + n, n) : text_content(300'000 + n, n);
    expect_content(test_chunk_id(RecordType::chunk, content), content);
  }
}

}  // namespace
}  // namespace vaultfs
