#include "fs/content/chunk_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kPage = kPatchPageBytes;

class ChunkReaderTest : public testing::Test {
 protected:
  ChunkReaderTest() { must_open(); }
  void must_open() {
    const Status opened = vault_.open();
    ASSERT_TRUE(opened.ok()) << message(opened);
    reader_ = std::make_unique<ChunkReader>(*vault_.store, cache_, chunks_, frames_, workers_);
  }
  ChunkId patch(const ChunkId& base, const Bytes& content, const PatchPages& pages) {
    const auto put =
        vault_.store->put_patch({base, static_cast<std::uint32_t>(content.size()), pages, content, kPatchPages});
    EXPECT_TRUE(put.ok() && put->has_value());
    return (*put)->id;
  }
  Result<Bytes> read(const ChunkId& id, std::uint32_t offset, std::size_t size) {
    Bytes out(size, std::byte{0xee});
    VAULTFS_RETURN_IF_ERROR(reader_->read(id, offset, out));
    return out;
  }

  TestVault vault_;
  SlotMemoryPool chunks_{4};
  FrameMemoryPool frames_;
  FrameCache cache_{std::uint64_t{512} * 1024};  // smaller than one chunk
  WorkerPool workers_{1};
  std::unique_ptr<ChunkReader> reader_;
};

TEST_F(ChunkReaderTest, PiecesOfEveryKindOfContentAreWhatWasStored) {
  PatchPages some;
  for (std::uint32_t page = 1; page < kPatchPages; page += 5) some.set(page);
  struct Case {
    ChunkId id;
    Bytes content;
  };
  std::vector<Case> cases;
  const auto laid = [&](Bytes below, const Bytes& above) {
    below.resize(above.size());
    for (std::uint32_t page = 0; page < kPatchPages && page * kPage < above.size(); ++page) {
      if (!some.test(page)) continue;
      const std::size_t end = std::min<std::size_t>(above.size(), (page + 1) * std::size_t{kPage});
      std::copy(above.begin() + page * kPage, above.begin() + static_cast<std::ptrdiff_t>(end),
                below.begin() + page * kPage);
    }
    return below;
  };
  for (const Bytes& content : {random_content(kMiB, 1), text_content(kMiB, 2), random_content(70'000, 3),
                               text_content(300'001, 4), random_content(5, 5), text_content(4097, 6)}) {
    cases.push_back({vault_.must_put(content), content});
  }
  const Bytes newer = random_content(kMiB, 7);
  cases.push_back({patch(cases[0].id, newer, some), laid(cases[0].content, newer)});
  cases.push_back({patch(cases[1].id, newer, some), laid(cases[1].content, newer)});
  cases.push_back({patch(ChunkId(), newer, some), laid({}, newer)});
  cases.push_back({ChunkId(), Bytes(kMiB)});
  std::mt19937_64 random(11);
  for (int round = 0; round < 600; ++round) {
    const Case& one = cases[random() % cases.size()];
    const auto offset = static_cast<std::uint32_t>(random() % kMiB);
    const std::size_t size = std::min<std::size_t>(1 + random() % (round % 3 == 0   ? kMiB
                                                                   : round % 3 == 1 ? 70'000
                                                                                    : 5'000),
                                                   kMiB - offset);
    const auto got = read(one.id, offset, size);
    ASSERT_TRUE(got.ok()) << got.error().message;
    Bytes wanted(size);
    if (offset < one.content.size()) {
      const std::size_t stored = std::min(size, one.content.size() - offset);
      std::copy_n(one.content.begin() + offset, stored, wanted.begin());
    }
    ASSERT_TRUE(bytes_equal(*got, wanted)) << "round " << round << " of " << &one - cases.data() << " at " << offset;
  }
}

// A file that has grown over its tail: the chunk is shorter than its place, and the room may have held anything.
TEST_F(ChunkReaderTest, AWholeChunkEndsInZeros) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{5000}, std::size_t{700'000}, std::size_t{kMiB}}) {
    Bytes wanted = text_content(size, size);
    const auto got = read(vault_.must_put(wanted), 0, kMiB);
    wanted.resize(kMiB);
    ASSERT_TRUE(got.ok());
    EXPECT_TRUE(*got == wanted) << size;
  }
}

TEST_F(ChunkReaderTest, AChunkReadAheadEndsInZeros) {
  {
    SlotMemory used = chunks_.take();
    std::ranges::fill(used.view(), std::byte{0xee});
  }
  const Bytes content = text_content(5000, 1);
  const ChunkId id = vault_.must_put(content);
  reader_->read_ahead(id);
  for (int i = 0; i < 5'000 && cache_.find({id, kWholeChunk}) == nullptr; ++i) ::usleep(1000);
  ASSERT_NE(cache_.find({id, kWholeChunk}), nullptr);
  Bytes wanted = content;
  wanted.resize(kMiB);
  const auto got = read(id, 0, kMiB);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(*got == wanted);
  const auto behind = read(id, 4990, 100);
  ASSERT_TRUE(behind.ok());
  EXPECT_TRUE(bytes_equal(*behind, ByteView(wanted).subspan(4990, 100)));
}

// A read that was under way when the vault was sealed comes back with what it has opened.
TEST_F(ChunkReaderTest, AClosedCacheTakesNothingIn) {
  const FrameCache::Key key{test_chunk_id(RecordType::chunk, text_content(10, 1)), 0};
  cache_.close();
  cache_.insert(key, std::make_shared<FrameCache::Block>(frames_.take(100), 100));
  EXPECT_EQ(cache_.find(key), nullptr);
  cache_.open();
  EXPECT_EQ(cache_.find(key), nullptr);
  cache_.insert(key, std::make_shared<FrameCache::Block>(frames_.take(100), 100));
  EXPECT_NE(cache_.find(key), nullptr);
}

TEST_F(ChunkReaderTest, WhatAPatchHasReadsThoughItsBaseIsDamagedBesideIt) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes newer = random_content(kMiB, 2);
  PatchPages pages;
  pages.set(9);
  const ChunkId base_id = vault_.must_put(base);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const ChunkId id = patch(base_id, newer, pages);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const std::string file = "/vault/" + closed_segment_name(ContainerNumber(1));
  const Bytes intact = vault_.env.read(file);
  for (const std::uint64_t flipped : {std::uint64_t{160 + 2}, 160 + 2'000 + std::uint64_t{8} * kPage}) {
    vault_.env.write(file, intact);
    vault_.env.flip_bit(file, flipped * 8);  // the record's header; then the frame of page 9
    must_open();
    const auto patched = read(id, 9 * kPage + 10, 100);
    ASSERT_TRUE(patched.ok()) << patched.error().message;
    EXPECT_TRUE(bytes_equal(*patched, ByteView(newer).subspan(9 * kPage + 10, 100)));
    EXPECT_TRUE(is_named_damage(read(id, 8 * kPage, 100).code()));
    EXPECT_TRUE(is_named_damage(read(id, 8 * kPage, 2 * kPage).code()));
  }
}

TEST_F(ChunkReaderTest, ALargeFrameIsOpenedOnceAndForgottenInTime) {
  const Bytes content = text_content(kMiB, 1);
  const ChunkId id = vault_.must_put(content);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  ASSERT_TRUE(read(id, 100, 50).ok());
  const std::string file = "/vault/" + closed_segment_name(ContainerNumber(1));
  vault_.env.write(file, Bytes(vault_.env.read(file).size()));
  EXPECT_TRUE(read(id, 8'000, 50).ok()) << "the same frame";
  EXPECT_FALSE(read(id, 600'000, 50).ok()) << "another one";
  cache_.close();
  EXPECT_FALSE(read(id, 100, 50).ok());
}

TEST(FrameMemoryPoolTest, RecyclesUpToABound) {
  FrameMemoryPool pool;
  std::byte* first = nullptr;
  {
    const FrameMemory one = pool.take(10'000);
    EXPECT_EQ(one.view().size(), 16'384U);
    first = one.view().data();
    const FrameMemory other = pool.take(10'000);
    EXPECT_NE(other.view().data(), first);
  }
  EXPECT_EQ(pool.take(16'384).view().data(), first) << "what was given back last";
  EXPECT_NE(pool.take(16'385).view().data(), first);
  EXPECT_EQ(pool.take(1).view().size(), 4096U);
  EXPECT_EQ(pool.take(kMiB).view().size(), kMiB);

  std::set<std::byte*> seen;
  std::vector<FrameMemory> taken;
  for (int i = 0; i < 1000; ++i) taken.push_back(pool.take(4096));
  for (const FrameMemory& memory : taken) EXPECT_TRUE(seen.insert(memory.view().data()).second) << "given out twice";
  FrameMemory moved = std::move(taken.front());
  taken.clear();
  EXPECT_FALSE(moved.view().empty());
}

// What a read that was under way gives back after the vault was sealed must not stay.
TEST(FrameMemoryPoolTest, KeepsNothingWhileItIsClosed) {
  const auto fill = [](MutableByteView bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0x5a}); };
  const auto filled = [](ByteView bytes) { return std::ranges::count(bytes, std::byte{0x5a}); };
  FrameMemoryPool frames;
  SlotMemoryPool slots(4);
  {
    const FrameMemory frame = frames.take(65'536);
    const SlotMemory slot = slots.take();
    fill(frame.view());
    fill(slot.view());
    frames.close();
    slots.close();
  }
  frames.open();
  slots.open();
  EXPECT_LT(filled(frames.take(65'536).view()), 1000);
  EXPECT_LT(filled(slots.take().view()), 1000);
}

}  // namespace
}  // namespace vaultfs
