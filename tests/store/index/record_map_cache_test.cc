#include "store/index/record_map_cache.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "store/record/frame_compression.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

std::shared_ptr<const RecordMap> map_of(std::uint64_t sequence, std::size_t frames) {
  RecordMap map;
  map.header.sequence = sequence;
  map.table.frames.resize(frames);
  return std::make_shared<const RecordMap>(std::move(map));
}

TEST(RecordMapCache, StaysBoundedAndKeepsWhatIsUsed) {
  constexpr std::uint64_t kMany = 40'000;
  RecordMapCache cache;
  std::vector<std::weak_ptr<const RecordMap>> all;
  for (std::uint64_t n = 0; n < kMany; ++n) {
    auto map = map_of(n, 64);
    all.emplace_back(map);
    cache.insert(ContainerNumber(n % 7), n * 8, std::move(map));
    const auto first = cache.find(ContainerNumber(0), 0);
    ASSERT_NE(first, nullptr) << n;
    ASSERT_EQ(first->header.sequence, 0U);
  }
  EXPECT_EQ(cache.find(ContainerNumber(1), 8), nullptr);
  EXPECT_EQ(cache.find(ContainerNumber((kMany - 1) % 7), (kMany - 1) * 8)->header.sequence, kMany - 1);
  EXPECT_EQ(cache.find(ContainerNumber(kMany % 7), (kMany - 1) * 8), nullptr) << "another segment";
  const auto alive = std::ranges::count_if(all, [](const auto& map) { return !map.expired(); });
  EXPECT_LT(static_cast<std::size_t>(alive) * 64 * sizeof(FrameTable::Frame), 8 * kMiB);
  EXPECT_GT(alive, 4'000);
}

// What was learned of a record at an earlier read must not make a later one trust the file.
TEST(RecordMapCache, ReadsThatUseItCheckEveryFrame) {
  TestVault vault;
  ASSERT_TRUE(vault.open().ok());
  const Bytes content = random_content(kMiB, 3);
  const ChunkId id = vault.must_put(content);
  ASSERT_TRUE(vault.store->close_segment().ok());
  constexpr std::uint32_t kFrame = 1U << kPlainFrameLog2;
  Bytes piece(100);
  const auto read = [&](std::uint32_t offset) { return vault.store->read(id, offset, piece); };
  ASSERT_TRUE(read(0).ok());
  const std::string file = "/vault/" + closed_segment_name(ContainerNumber(1));
  vault.env.flip_bit(file, (160 + 2000 + std::uint64_t{5} * kFrame) * 8);
  EXPECT_EQ(read(5 * kFrame).code(), ErrorCode::AuthenticationFailed);
  ASSERT_TRUE(read(7 * kFrame).ok());
  EXPECT_TRUE(bytes_equal(piece, ByteView(content).subspan(std::size_t{7} * kFrame, piece.size())));
  EXPECT_FALSE(vault.store->contains(id)) << "damaged";
  // Stored anew in another place: that record's own map counts.
  const auto again = vault.store->put(RecordType::chunk, content);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->stored);
  EXPECT_TRUE(read(5 * kFrame).ok());
}

TEST(ReadPiece, ReadsSmallFramesAndNamesLargeOnes) {
  TestVault vault;
  ASSERT_TRUE(vault.open().ok());
  Bytes piece(300);
  const auto frame_bytes = [&](const ChunkId& id, std::uint32_t offset) -> std::uint32_t {
    std::fill(piece.begin(), piece.end(), std::byte{0xee});
    const auto outcome = vault.store->read_piece(id, offset, piece);
    EXPECT_TRUE(outcome.ok());
    return outcome.ok() ? *outcome : 0;
  };
  const Bytes noise = random_content(kMiB - 100, 2);
  const Bytes text = text_content(kMiB, 1);
  const ChunkId noise_id = vault.must_put(noise);
  const ChunkId text_id = vault.must_put(text);
  EXPECT_EQ(frame_bytes(noise_id, 16'300), 0U);
  EXPECT_TRUE(bytes_equal(piece, ByteView(noise).subspan(16'300, 300)));
  EXPECT_EQ(frame_bytes(noise_id, kMiB - 200), 0U);
  EXPECT_TRUE(bytes_equal(ByteView(piece).first(100), ByteView(noise).last(100)));
  EXPECT_TRUE(is_all_zero(ByteView(piece).subspan(100))) << "behind the chunk's end";
  EXPECT_EQ(frame_bytes(noise_id, kMiB + 5), 0U);
  EXPECT_TRUE(is_all_zero(piece));
  EXPECT_EQ(frame_bytes(text_id, 5), 1U << kCompressibleFrameLog2);
  EXPECT_EQ(frame_bytes(vault.must_put(text_content(50'000, 3)), 5), 1U << kDefaultFrameLog2);
  EXPECT_EQ(frame_bytes(vault.must_put(text_content(5'000, 3)), 5), 0U) << "its one frame is short";

  PatchPages pages;
  pages.set(3);
  const Bytes newer = random_content(kMiB, 4);
  const auto patch_over = [&](const ChunkId& base) {
    return vault.store->put_patch({base, static_cast<std::uint32_t>(kMiB), pages, newer, kPatchPages}).value()->id;
  };
  const ChunkId over_text = patch_over(text_id);
  EXPECT_EQ(frame_bytes(over_text, 100), 1U << kCompressibleFrameLog2) << "its base's";
  EXPECT_EQ(frame_bytes(over_text, 3 * kPatchPageBytes + 100), 0U) << "in the patch";
  EXPECT_TRUE(bytes_equal(piece, ByteView(newer).subspan(3 * kPatchPageBytes + 100, 300)));
  EXPECT_EQ(frame_bytes(patch_over(noise_id), 3 * kPatchPageBytes - 150), 0U);
  EXPECT_TRUE(bytes_equal(ByteView(piece).first(150), ByteView(noise).subspan(3 * kPatchPageBytes - 150, 150)));
  EXPECT_TRUE(bytes_equal(ByteView(piece).subspan(150), ByteView(newer).subspan(3 * kPatchPageBytes, 150)));
  EXPECT_EQ(frame_bytes(patch_over(ChunkId()), 100), 0U);
  EXPECT_TRUE(is_all_zero(piece));
  // Of a patch that ends before its place does.
  const std::uint32_t end = 3 * kPatchPageBytes + 200;
  const ChunkId shorter = vault.store->put_patch({ChunkId(), end, pages, newer, kPatchPages}).value()->id;
  EXPECT_EQ(frame_bytes(shorter, end - 100), 0U);
  EXPECT_TRUE(bytes_equal(ByteView(piece).first(100), ByteView(newer).subspan(end - 100, 100)));
  EXPECT_TRUE(is_all_zero(ByteView(piece).subspan(100))) << "behind the patch's end";
  EXPECT_EQ(frame_bytes(shorter, kMiB - 300), 0U);
  EXPECT_TRUE(is_all_zero(piece));
  EXPECT_EQ(vault.store->read_piece(test_chunk_id(RecordType::chunk, newer), 0, piece).code(), ErrorCode::ChunkMissing);
}

}  // namespace
}  // namespace vaultfs
