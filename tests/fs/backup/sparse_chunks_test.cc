#include "fs/backup/source/sparse_chunks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/byte_codec.h"

namespace vaultfs {
namespace {

using DealerRun = ChunkDealer::Run;

ChunkId id_of(std::uint8_t value) {
  ChunkId id;
  std::ranges::fill(id.mutable_view(), std::byte{value});
  return id;
}

TEST(SparseChunks, KnowsWhatIsSetAndWhereHolesEnd) {
  constexpr std::uint64_t kCount = (1ULL << 30) - 5;  // of a disk of nearly 1 PiB
  SparseChunks chunks(kCount);
  EXPECT_EQ(chunks.size(), kCount);
  EXPECT_EQ(chunks.next(0), kCount);
  chunks.set(7, id_of(1));
  chunks.set(5'000'000, id_of(2));
  chunks.set(5'000'001, id_of(3));
  chunks.set(kCount - 1, id_of(4));
  chunks.set(9, ChunkId{});
  EXPECT_EQ(chunks.get(7), id_of(1));
  EXPECT_TRUE(chunks.get(8).is_zero());
  EXPECT_TRUE(chunks.get(400'000'000).is_zero());
  EXPECT_EQ(chunks.next(0), 7U);
  EXPECT_EQ(chunks.next(7), 7U);
  EXPECT_EQ(chunks.next(8), 5'000'000U);
  EXPECT_EQ(chunks.next(5'000'001), 5'000'001U);
  EXPECT_EQ(chunks.next(5'000'002), kCount - 1);
  EXPECT_EQ(chunks.next(kCount), kCount);
  chunks.set(7, ChunkId{});
  EXPECT_EQ(chunks.next(0), 5'000'000U);
}

TEST(ChunkDealer, DealsEachIndexOnceAndTellsOfTheRest) {
  const std::vector<DealerRun> runs{{3, 5}, {100, 101}, {4000, 4400}};
  const auto find = [&runs](std::uint64_t from) -> Result<DealerRun> {
    for (const DealerRun& run : runs) {
      if (run.end > from) return DealerRun{std::max(run.begin, from), run.end};
    }
    return DealerRun{5000, 5000};
  };
  std::uint64_t passed_over = 0;
  ChunkDealer dealer(5000, find, [&](std::uint64_t begin, std::uint64_t end) {
    passed_over += end - begin;
    return ok_status();
  });
  std::mutex mutex;
  std::set<std::uint64_t> dealt;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (true) {
        const auto index = dealer.next();
        ASSERT_TRUE(index.ok());
        if (!index->has_value()) return;
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(dealt.insert(**index).second) << **index;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(dealt.size(), 2U + 1 + 400);
  EXPECT_TRUE(dealt.contains(3) && dealt.contains(4) && dealt.contains(100) && dealt.contains(4399));
  EXPECT_EQ(passed_over, 5000 - dealt.size());
}

TEST(ChunkDealer, EndsWithTheErrorOfWhoFindsOrIsTold) {
  const Error stopped{ErrorCode::Interrupted, "stopped"};
  ChunkDealer blind(
      10, [&](std::uint64_t) -> Result<DealerRun> { return stopped; }, nullptr);
  EXPECT_EQ(blind.next().code(), ErrorCode::Interrupted);
  ChunkDealer stopping(
      10,
      [](std::uint64_t) -> Result<DealerRun> {
        return DealerRun{5, 6};
      },
      [&](std::uint64_t, std::uint64_t) -> Status { return stopped; });
  EXPECT_EQ(stopping.next().code(), ErrorCode::Interrupted);
}

}  // namespace
}  // namespace vaultfs
