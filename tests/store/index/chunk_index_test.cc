#include "store/index/chunk_index.h"

#include "store/index/chunk_index_file.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

ChunkId numbered_id(std::uint64_t n) {
  const Bytes bytes = random_content(32, n);
  ChunkId id;
  std::copy(bytes.begin(), bytes.end(), id.data());
  return id;
}

ChunkPlace place_at(std::uint64_t n) {
  ChunkPlace place;
  place.segment = ContainerNumber(n % 5 + 1);
  place.offset = 160 + n * 8;
  place.stored_bytes = static_cast<std::uint32_t>(128 + n % 1000 * 8);
  place.plaintext_bytes = static_cast<std::uint32_t>(n % 1000 * 8 + 1);
  place.type = n % 3 == 0 ? RecordType::map_page : RecordType::chunk;
  return place;
}

ChunkPlace healed(ChunkPlace place) {
  place.healed = true;
  return place;
}

TEST(ChunkIndexTest, DoesWhatAMapDoes) {
  ChunkIndex index;
  std::map<std::uint64_t, ChunkPlace> oracle;
  std::mt19937_64 random(1);
  for (int step = 0; step < 60'000; ++step) {
    const std::uint64_t n = random() % 4000;
    const ChunkId id = numbered_id(n);
    if (random() % 3 == 0) {
      if (oracle.contains(n)) index.erase_if_at(id, oracle[n]);
      oracle.erase(n);
    } else {
      const ChunkPlace place = place_at(random() % 100'000);
      index.insert(id, place);
      oracle[n] = place;
    }
  }
  EXPECT_EQ(index.size(), oracle.size());
  for (std::uint64_t n = 0; n < 4000; ++n) {
    const auto found = index.find(numbered_id(n));
    ASSERT_EQ(found.has_value(), oracle.contains(n)) << n;
    if (found) {
      ASSERT_EQ(*found, oracle[n]);
    }
  }
  std::size_t visited = 0;
  index.for_each([&](const ChunkIndex::Key&, const ChunkPlace&) { ++visited; });
  EXPECT_EQ(visited, oracle.size());
}

TEST(ChunkIndexTest, KeepsEveryFieldAtItsLimits) {
  ChunkIndex index;
  ChunkPlace place;
  place.segment = ContainerNumber(ChunkIndex::kMaxSegment);
  place.offset = ChunkIndex::kMaxOffset;
  place.stored_bytes = static_cast<std::uint32_t>(max_stored_bytes(kMaxRecordBytes, kMinFrameLog2, 32));
  place.plaintext_bytes = kMaxRecordBytes;
  place.type = RecordType::map_page;
  index.insert(numbered_id(1), place);
  EXPECT_EQ(index.find(numbered_id(1)), place);
  index.mark_damaged(numbered_id(1), place);
  EXPECT_TRUE(index.find(numbered_id(1))->damaged);
  index.insert_if_better(numbered_id(1), place_at(7));
  EXPECT_EQ(index.find(numbered_id(1)), healed(place_at(7)));
  index.insert_if_better(numbered_id(1), place_at(6));
  EXPECT_EQ(index.find(numbered_id(1)), healed(place_at(7)));
  // Somebody stored it anew, and knew why.
  index.insert_if_better(numbered_id(1), place_at(8));
  EXPECT_EQ(index.find(numbered_id(1)), healed(place_at(8)));
  index.erase_if_at(numbered_id(1), place_at(7));
  EXPECT_EQ(index.size(), 1U);
}

TEST(ChunkIndexTest, WhatStandsInForADamagedRecordIsMarkedWhereverItGoes) {
  ChunkIndex index;
  const ChunkId id = numbered_id(1);
  index.insert(id, place_at(5));
  index.insert(id, place_at(6));
  EXPECT_EQ(index.find(id), place_at(6)) << "moved, nothing was wrong with it";
  index.mark_damaged(id, place_at(6));
  index.insert(id, place_at(11));
  EXPECT_EQ(index.find(id), place_at(11)) << "both lie in one segment, which is kept or not";
  index.mark_damaged(id, place_at(11));
  index.insert(id, place_at(7));
  EXPECT_EQ(index.find(id), healed(place_at(7)));
  index.insert(id, place_at(8));
  EXPECT_EQ(index.find(id), healed(place_at(8)));
  index.mark_damaged(id, place_at(8));
  EXPECT_TRUE(index.find(id)->damaged && index.find(id)->healed);
  index.insert(id, place_at(9));
  EXPECT_EQ(index.find(id), healed(place_at(9)));
  // What a failed sync takes back is stored again as what it was.
  index.erase_if_at(id, place_at(9));
  EXPECT_TRUE(index.find(id)->damaged);
  index.insert(id, place_at(14));
  EXPECT_EQ(index.find(id), healed(place_at(14)));
  // A decision to let it go holds.
  index.begin_generation();
  EXPECT_TRUE(index.erase_if_dead_at(id, place_at(14)));
  EXPECT_FALSE(index.find(id).has_value());
  index.insert(id, place_at(15));
  EXPECT_EQ(index.find(id), place_at(15));
}

TEST(ChunkIndexTest, OfTwoPlacesFoundTheOneThatStaysIsMarked) {
  for (const auto& [first, second] : {std::pair<std::uint64_t, std::uint64_t>{5, 6}, {6, 5}}) {
    ChunkIndex index;
    index.insert_if_better(numbered_id(1), place_at(first));
    EXPECT_EQ(index.find(numbered_id(1)), place_at(first));
    index.insert_if_better(numbered_id(1), place_at(second));
    EXPECT_EQ(index.find(numbered_id(1)), healed(place_at(6)));
  }
  ChunkIndex index;
  index.insert_if_better(numbered_id(1), place_at(5));
  index.insert_if_better(numbered_id(1), place_at(10));
  EXPECT_EQ(index.find(numbered_id(1)), place_at(5)) << "in the same segment";
}

TEST(ChunkIndexTest, TheMarkAndTheGenerationLeaveEachOtherAlone) {
  ChunkIndex index;
  const ChunkPlace marked = healed(place_at(5));
  index.insert(numbered_id(1), marked);
  index.insert(numbered_id(2), place_at(6));
  const auto live = [&index] {
    std::size_t count = 0;
    index.for_each_with_life([&](const ChunkIndex::Key&, const ChunkPlace&, bool is_live) { count += is_live; });
    return count;
  };
  EXPECT_EQ(live(), 2U);
  for (int generation = 1; generation < 64; ++generation) {
    index.begin_generation();
    ASSERT_EQ(live(), 0U) << generation;
  }
  index.begin_generation();
  EXPECT_EQ(live(), 2U) << "for one generation";
  index.begin_generation();
  EXPECT_EQ(live(), 0U);
  EXPECT_EQ(index.touch(numbered_id(1)), marked);
  EXPECT_EQ(live(), 1U);
  EXPECT_FALSE(index.erase_if_dead_at(numbered_id(1), place_at(5)));
  EXPECT_TRUE(index.erase_if_dead_at(numbered_id(2), place_at(6)));
  EXPECT_EQ(index.find(numbered_id(1)), marked);
}

TEST(ChunkIndexTest, WhatNobodyHasLookedAtIsMarkedUntilSomebodyDoes) {
  ChunkIndex index;
  ChunkPlace told = healed(place_at(5));
  told.unconfirmed = true;
  index.insert(numbered_id(1), told);
  EXPECT_EQ(index.find(numbered_id(1)), told);
  index.begin_generation();
  EXPECT_EQ(index.touch(numbered_id(1)), told);
  index.confirm(numbered_id(1), place_at(6));
  EXPECT_EQ(index.find(numbered_id(1)), told) << "at another place";
  index.confirm(numbered_id(1), place_at(5));
  EXPECT_EQ(index.find(numbered_id(1)), healed(place_at(5)));
  index.insert(numbered_id(2), told);
  index.insert(numbered_id(2), place_at(11));
  EXPECT_EQ(index.find(numbered_id(2)), healed(place_at(11))) << "stored anew by somebody who knows it";
  index.insert(numbered_id(3), told);
  index.erase_if_at(numbered_id(3), place_at(5));
  EXPECT_TRUE(index.find(numbered_id(3))->damaged) << "the marks are no part of the place";
}

TEST(ChunkIndexTest, StaysBelowFortyBytesAChunk) {
  ChunkIndex index;
  std::mt19937_64 random(3);
  for (std::uint64_t n = 1; n <= 400'000; ++n) {
    ChunkId id;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::uint64_t word = random();
      std::memcpy(id.data() + 8 * i, &word, 8);
    }
    index.insert(id, place_at(n));
    if (n >= 100'000 && n % 1000 == 0) {
      ASSERT_LT(index.memory_bytes(), n * 40) << n;
    }
  }
}

TEST(ChunkIndexTest, StoredFormRoundTripsAndRefusesWhatCannotBe) {
  ChunkIndex index;
  for (std::uint64_t n = 0; n < 30; ++n) index.insert(numbered_id(n), place_at(n));
  index.mark_damaged(numbered_id(3), place_at(3));
  index.insert(numbered_id(6), healed(place_at(6)));
  ChunkIndexFile::Segments segments;
  for (std::uint64_t s = 1; s <= 4; ++s) segments[ContainerNumber(s)] = 100'000;
  IndexHead head{Generation(7), {}};
  head.digest.mutable_view()[5] = std::byte{9};
  const Bytes content = ChunkIndexFile::encode(head, segments, {}, index, {});
  const auto decoded = ChunkIndexFile::decode(content);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->head, head);
  EXPECT_EQ(decoded->segments, segments);
  // The first form names no head and has nothing else before the segments.
  const auto first_form = ChunkIndexFile::decode(ByteView(content).subspan(4 + 8 + Digest::kSize));
  ASSERT_TRUE(first_form.ok()) << first_form.error().message;
  EXPECT_FALSE(first_form->head.has_value());
  EXPECT_EQ(first_form->segments, segments);
  EXPECT_EQ(decoded->entries.size(), 24U) << "segment 5 is not among those to be stored";
  for (const auto& entry : decoded->entries) {
    EXPECT_EQ(entry.place.damaged, entry.place.offset == place_at(3).offset);
    EXPECT_EQ(entry.place.healed, entry.place.offset == place_at(6).offset);
    // Those who don't know the mark find a type that does not exist: they build the index anew.
    EXPECT_EQ(max_content_bytes(static_cast<RecordType>(static_cast<std::uint8_t>(entry.place.type) | 0x40U)), 0U);
  }
  EXPECT_EQ(ChunkIndexFile::encode(head, segments, {ContainerNumber(4)}, index, {}).size(), content.size());
  // What lies beyond a segment's end would make all of it unbelievable.
  segments[ContainerNumber(4)] = place_at(23).offset + place_at(23).stored_bytes;
  const auto shorter = ChunkIndexFile::decode(ChunkIndexFile::encode(head, segments, {}, index, {}));
  ASSERT_TRUE(shorter.ok()) << shorter.error().message;
  EXPECT_EQ(shorter->entries.size(), 23U);
  for (std::size_t size = 0; size < content.size(); ++size) {
    ASSERT_EQ(ChunkIndexFile::decode(ByteView(content).first(size)).code(), ErrorCode::DamagedSegment);
  }
  // Of the patches among the entries, what is known of their bases.
  PatchBases bases;
  const auto key = [](std::uint64_t n) { return ChunkIndex::key_of(numbered_id(n)); };
  ChunkPlace patch = place_at(0);
  patch.type = RecordType::patch;
  for (const std::uint64_t n : {101, 102, 103}) index.insert(key(n), patch);
  bases.insert(key(101), key(1));
  bases.insert(key(102), ChunkIndex::Key{});  // over a hole
  bases.insert(key(2), key(1));               // a patch once; what lies there now is none
  bases.insert(key(104), key(1));             // is gone
  const Bytes with_bases = ChunkIndexFile::encode(head, segments, {}, index, bases);
  const auto told = ChunkIndexFile::decode(with_bases);
  ASSERT_TRUE(told.ok()) << told.error().message;
  std::map<ChunkIndex::Key, ChunkIndex::Key> found;
  for (const auto& base : told->bases) found[base.patch] = base.base;
  EXPECT_EQ(found, (std::map<ChunkIndex::Key, ChunkIndex::Key>{{key(101), key(1)}, {key(102), {}}}));
  // Cut off, they are refused; without them the content is whole, as it was before they were told.
  const std::size_t without = with_bases.size() - 8 - 2 * ChunkIndexFile::Base::kEncodedBytes;
  for (std::size_t size = without; size < with_bases.size(); ++size) {
    ASSERT_EQ(ChunkIndexFile::decode(ByteView(with_bases).first(size)).ok(), size == without);
  }
  // Not authenticated here, so that some changes decode; none may crash, and what decodes must fit the index.
  for (std::size_t bit = 0; bit < content.size() * 8; ++bit) {
    Bytes bad = content;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto file = ChunkIndexFile::decode(bad);
    if (!file.ok()) continue;
    ChunkIndex other;
    for (const auto& entry : file->entries) other.insert(entry.key, entry.place);
  }
}

}  // namespace
}  // namespace vaultfs
