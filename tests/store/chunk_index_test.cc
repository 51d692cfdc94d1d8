#include "store/chunk_index.h"

#include "store/chunk_index_file.h"
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
  EXPECT_EQ(index.find(numbered_id(1)), place_at(7));
  index.insert_if_better(numbered_id(1), place_at(6));
  EXPECT_EQ(index.find(numbered_id(1)), place_at(7));
  // Somebody stored it anew, and knew why.
  index.insert_if_better(numbered_id(1), place_at(8));
  EXPECT_EQ(index.find(numbered_id(1)), place_at(8));
  index.erase_if_at(numbered_id(1), place_at(7));
  EXPECT_EQ(index.size(), 1U);
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
  ChunkIndexFile::Segments segments;
  for (std::uint64_t s = 1; s <= 4; ++s) segments[ContainerNumber(s)] = 100'000;
  const Bytes content = ChunkIndexFile::encode(segments, {}, index, {});
  const auto decoded = ChunkIndexFile::decode(content);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->segments, segments);
  EXPECT_EQ(decoded->entries.size(), 24U) << "segment 5 is not among those to be stored";
  for (const auto& entry : decoded->entries) {
    EXPECT_EQ(entry.place.damaged, entry.place.offset == place_at(3).offset);
  }
  EXPECT_EQ(ChunkIndexFile::encode(segments, {ContainerNumber(4)}, index, {}).size(), content.size());
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
  const Bytes with_bases = ChunkIndexFile::encode(segments, {}, index, bases);
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
