// The parts of the write path, one by one.
#include <gtest/gtest.h>

#include <bitset>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "fs/content/byte_ranges.h"
#include "fs/content/extent_map.h"
#include "fs/content/write_buffer.h"
#include "fs/tree/format/entry.h"
#include "fs/tree/format/section.h"
#include "fs/tree/replay.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

ChunkId chunk_named(std::uint8_t first) {
  ChunkId id;
  id.mutable_view()[0] = static_cast<std::byte>(first);
  return id;
}

TEST(ByteRangesTest, BehaveLikeASetOfPositions) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    ByteRanges ranges;
    std::bitset<200> model;
    for (int i = 0; i < 30; ++i) {
      const auto begin = static_cast<std::uint32_t>(random() % 200);
      const auto end = static_cast<std::uint32_t>(begin + random() % (201 - begin));
      const bool add = random() % 3 != 0;
      if (add) {
        ranges.add(begin, end);
      } else {
        ranges.remove(begin, end);
      }
      for (std::uint32_t at = begin; at < end; ++at) model.set(at, add);
    }
    std::uint32_t last_end = 0;
    std::bitset<200> seen;
    for (const ByteRanges::Range& range : ranges.ranges()) {
      ASSERT_LT(range.begin, range.end);
      ASSERT_TRUE(range.begin > last_end || (range.begin == 0 && last_end == 0));
      last_end = range.end;
      for (std::uint32_t at = range.begin; at < range.end; ++at) seen.set(at);
    }
    ASSERT_EQ(seen, model);
    ASSERT_EQ(ranges.total_bytes(), model.count());
    const auto begin = static_cast<std::uint32_t>(random() % 200);
    const auto end = static_cast<std::uint32_t>(begin + random() % (201 - begin));
    std::bitset<200> inside;
    std::bitset<200> outside;
    for (const auto& range : ranges.inside(begin, end)) {
      for (std::uint32_t at = range.begin; at < range.end; ++at) inside.set(at);
    }
    for (const auto& range : ranges.outside(begin, end)) {
      for (std::uint32_t at = range.begin; at < range.end; ++at) outside.set(at);
    }
    bool covered = true;
    for (std::uint32_t at = 0; at < 200; ++at) {
      const bool in_window = at >= begin && at < end;
      ASSERT_EQ(inside.test(at), in_window && model.test(at));
      ASSERT_EQ(outside.test(at), in_window && !model.test(at));
      if (in_window && !model.test(at)) covered = false;
    }
    ASSERT_EQ(ranges.covers(begin, end), covered);
  }
}

TEST(ExtentMapTest, SharedPagesKeepTheirContent) {
  ExtentMap live;
  for (std::uint64_t index = 0; index < 600; ++index) live.set(index, chunk_named(1));
  EXPECT_EQ(live.used_entries(), 600U);
  const ExtentMap snapshot = live.share();
  live.set(5, chunk_named(2));
  live.clear(250, 520);
  EXPECT_EQ(snapshot.get(5), chunk_named(1));
  EXPECT_EQ(snapshot.get(300), chunk_named(1));
  EXPECT_EQ(live.get(5), chunk_named(2));
  EXPECT_TRUE(live.get(250).is_zero());
  EXPECT_TRUE(live.get(519).is_zero());
  EXPECT_EQ(live.get(249), chunk_named(1));
  EXPECT_EQ(live.get(520), chunk_named(1));
  EXPECT_EQ(live.used_entries(), 600U - 270U);
  EXPECT_EQ(live.next_candidate(256).value(), 512U);
  live.clear(0, 1000);
  EXPECT_TRUE(live.empty());
}

// Beyond a bound, loaded pages go; what was changed and is stored nowhere yet is not among them.
TEST(ExtentMapTest, ChangedPagesStayLoaded) {
  constexpr std::uint64_t kPages = 1100;
  InodeRecord record;
  record.pages.assign(kPages, chunk_named(9));
  ExtentMap map = ExtentMap::from_record(record);
  const auto load = [&](std::uint64_t page) {
    auto content = std::make_shared<ExtentMap::Page>();
    content->entries[3] = chunk_named(1);
    map.install(page, chunk_named(9), std::move(content));
  };
  load(5);
  map.set(5 * kEntriesPerMapPage + 7, chunk_named(2));
  for (std::uint64_t page = 0; page < kPages; ++page) load(page);
  ASSERT_FALSE(map.page_to_load(5 * kEntriesPerMapPage).has_value());
  EXPECT_EQ(map.get(5 * kEntriesPerMapPage + 3), chunk_named(1));
  EXPECT_EQ(map.get(5 * kEntriesPerMapPage + 7), chunk_named(2));
  EXPECT_TRUE(map.page_to_load(6 * kEntriesPerMapPage).has_value()) << "one that was not changed";
}

// A disk that was full for a moment is not full for ever.
TEST(WriteBufferTest, AFailureOfStoringEndsWithTheNextSuccess) {
  constexpr std::uint64_t kLimit = 100'000;
  WriteBuffer buffer(kLimit);
  const auto none = [](const WriteBuffer::Victim&) {};
  auto all = buffer.reserve(kLimit, none);
  ASSERT_TRUE(all.ok());
  std::optional<WriteBuffer::Reservation> taken(std::move(*all));
  buffer.storing_failed({ErrorCode::NoSpace, "full"});
  EXPECT_EQ(buffer.reserve(10, none).code(), ErrorCode::NoSpace);
  buffer.storing_succeeded();
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    taken.reset();
  });
  EXPECT_TRUE(buffer.reserve(10, none).ok());
}

TEST(WriteBufferTest, NothingGoesInBeyondItsBoundBeforeSomethingHasGoneOut) {
  WriteBuffer buffer(kMiB);
  SlotMemoryPool pool(1);
  Slot slot(pool.take_untouched(), false, Lsn{});
  unsigned evicted = 0;
  std::optional<WriteBuffer::Reservation> first;
  const auto evict = [&](const WriteBuffer::Victim& victim) {
    EXPECT_EQ(victim.slot, &slot);
    ++evicted;
    first.reset();
  };
  auto fits = buffer.reserve(kMiB, evict);
  ASSERT_TRUE(fits.ok());
  first.emplace(std::move(*fits));
  EXPECT_EQ(evicted, 0U);
  buffer.add_slot(nullptr, 0, &slot);
  EXPECT_TRUE(buffer.reserve(4096, evict).ok());
  EXPECT_EQ(evicted, 1U);
  buffer.release_slot(&slot, 0);
  EXPECT_EQ(buffer.used_bytes(), 0U);
}

TEST(FileReplayTest, AnExtentDropsJustTheFragmentsItContains) {
  FileReplay replay;
  const Bytes bytes(100, std::byte{1});
  replay.write(Lsn(10), 0, bytes);
  replay.write(Lsn(20), 500, bytes);
  replay.set_extent(0, chunk_named(9), Lsn(15));
  ASSERT_EQ(replay.chunks.at(0).fragments.size(), 1U);
  EXPECT_EQ(replay.chunks.at(0).fragments[0].lsn, Lsn(20));
  replay.zero(Lsn(30), 550, kChunkBytes + 10);
  EXPECT_EQ(replay.chunks.at(0).fragments.back().begin, 550U);
  EXPECT_EQ(replay.chunks.at(0).fragments.back().end, kChunkBytes);
  EXPECT_EQ(replay.chunks.at(1).fragments.back().end, 10U);
  replay.zero(Lsn(40), 0, 3ULL * kChunkBytes);
  EXPECT_TRUE(replay.chunks.empty());
  EXPECT_EQ(replay.cleared.size(), 1U);
}

TEST(TreeEntryTest, EveryChangeComesBack) {
  const Bytes bytes(10, std::byte{7});
  TreeEntryWriter writer;
  writer.add(CreateInode{InodeNumber(5), InodeType::symlink, 0777, 1, 2, 3, {4}, "target"});
  writer.add(SetAttributes{InodeNumber(5), 0600, 7, 8, {9}, {10}, {11}});
  writer.add(LinkName{InodeNumber(1), "name", InodeNumber(5)});
  writer.add(UnlinkName{InodeNumber(1), "old"});
  writer.add(WriteFragment{InodeNumber(5), Lsn(6), 1000, bytes});
  writer.add(SetExtent{InodeNumber(5), Lsn(6), 7, chunk_named(3), Lsn(8)});
  writer.add(CutContent{InodeNumber(5), 99});
  writer.add(ZeroRange{InodeNumber(5), 1, 2});
  writer.add(GrowFile{InodeNumber(5), Lsn(6), 123});
  writer.add(SnapshotMark{});
  writer.add(SetExtended{InodeNumber(5), "user.color", bytes});
  writer.add(RemoveExtended{InodeNumber(5), "user.color"});
  const Bytes entry = std::move(writer).take();
  const auto decoded = decode_tree_entry(entry);
  ASSERT_TRUE(decoded.ok());
  ASSERT_EQ(decoded->size(), 12U);
  for (std::size_t i = 0; i < decoded->size(); ++i) EXPECT_EQ((*decoded)[i].index(), i);
  EXPECT_EQ(std::get<CreateInode>((*decoded)[0]).target, "target");
  EXPECT_EQ(std::get<SetAttributes>((*decoded)[1]).ctime, UnixNanos{11});
  EXPECT_EQ(std::get<LinkName>((*decoded)[2]).inode, InodeNumber(5));
  EXPECT_TRUE(bytes_equal(std::get<WriteFragment>((*decoded)[4]).bytes, bytes));
  EXPECT_EQ(std::get<SetExtent>((*decoded)[5]).covers, Lsn(8));
  EXPECT_TRUE(bytes_equal(std::get<SetExtended>((*decoded)[10]).value, bytes));
  EXPECT_EQ(std::get<RemoveExtended>((*decoded)[11]).name, "user.color");
  TreeEntryWriter again;
  for (const TreeChange& change : *decoded) again.add(change);
  EXPECT_EQ(std::move(again).take(), entry);
  for (std::size_t cut = 0; cut < entry.size(); ++cut) {
    EXPECT_EQ(decode_tree_entry(ByteView(entry).first(cut)).code(), ErrorCode::JournalDamaged) << cut;
  }
  Bytes newer = entry;
  newer.front() = std::byte{3};
  EXPECT_EQ(decode_tree_entry(newer).code(), ErrorCode::UnsupportedFormat);
  newer.front() = std::byte{0};
  EXPECT_EQ(decode_tree_entry(newer).code(), ErrorCode::JournalDamaged);
}

TEST(TreeSectionTest, ComesBackAndRefusesEveryTruncation) {
  TreeSection section;
  section.next_inode = InodeNumber(77);
  section.items.push_back({"vm", Lsn(5)});
  InodeRecord file;
  file.number = InodeNumber(3);
  file.size = 10;
  file.chunks = {chunk_named(4)};
  section.inodes.push_back(file);
  section.fragments.push_back({InodeNumber(3), 2, Bytes(5, std::byte{1})});
  const Bytes bytes = section.encode();
  const auto decoded = TreeSection::decode(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->encode(), bytes);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_EQ(TreeSection::decode(ByteView(bytes).first(cut)).code(), ErrorCode::DamagedCheckpoint) << cut;
  }
  Bytes newer = bytes;
  newer.front() = std::byte{2};
  EXPECT_EQ(TreeSection::decode(newer).code(), ErrorCode::UnsupportedFormat);
}

}  // namespace
}  // namespace vaultfs
