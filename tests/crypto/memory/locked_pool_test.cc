#include "crypto/memory/locked_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

MutableByteView view_of(void* block, std::size_t size) { return {static_cast<std::byte*>(block), size}; }

void fill(void* block, std::size_t size, unsigned value) { std::memset(block, static_cast<int>(value), size); }

bool holds(void* block, std::size_t size, unsigned value) {
  for (const std::byte b : view_of(block, size)) {
    if (b != static_cast<std::byte>(value)) return false;
  }
  return true;
}

TEST(LockedPool, BlocksAreAlignedZeroedAndApart) {
  LockedPool pool;
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (std::size_t size = 1; size < 70'000; size = size * 5 / 4 + 1) {
    void* const block = pool.allocate(size);
    ASSERT_NE(block, nullptr) << size;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0U);
    EXPECT_TRUE(is_all_zero(view_of(block, size))) << size;
    fill(block, size, static_cast<unsigned>(blocks.size() + 1));
    blocks.emplace_back(block, size);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_TRUE(holds(blocks[i].first, blocks[i].second, static_cast<unsigned>(i + 1))) << blocks[i].second;
    pool.release(blocks[i].first);
  }
}

TEST(LockedPool, FreedMemoryIsWipedAndUsedAgain) {
  LockedPool pool;
  void* const keep = pool.allocate(1);
  ASSERT_NE(keep, nullptr);
  for (const std::size_t size : {std::size_t{1}, std::size_t{24}, std::size_t{1000}, LockedPool::kLargestPooledBytes}) {
    void* const block = pool.allocate(size);
    ASSERT_NE(block, nullptr);
    fill(block, size, 0xaa);
    pool.release(block);
    // All but the free list's link, which is no secret, is zero while the block is free.
    if (size > sizeof(void*)) {
      EXPECT_TRUE(is_all_zero(view_of(block, size).subspan(sizeof(void*)))) << size;
    }
    void* const again = pool.allocate(size);
    EXPECT_EQ(again, block) << "a freed block of the size class is taken first";
    EXPECT_TRUE(is_all_zero(view_of(again, size))) << size;
    pool.release(again);
  }
  pool.release(keep);
}

TEST(LockedPool, ReallocateKeepsTheContents) {
  LockedPool pool;
  void* block = pool.reallocate(nullptr, 100);
  ASSERT_NE(block, nullptr);
  fill(block, 100, 7);
  for (const std::size_t size : {120U, 5000U, 200'000U, 150'000U, 3000U, 90U, 40U, 10U}) {
    block = pool.reallocate(block, size);
    ASSERT_NE(block, nullptr) << size;
    EXPECT_TRUE(holds(block, std::min<std::size_t>(size, 10), 7)) << size;
  }
  EXPECT_EQ(pool.reallocate(block, 0), nullptr);
}

TEST(LockedPool, ShrinkingInPlaceWipesTheTail) {
  LockedPool pool;
  void* const block = pool.allocate(100);
  ASSERT_NE(block, nullptr);
  fill(block, 100, 7);
  ASSERT_EQ(pool.reallocate(block, 90), block);
  EXPECT_TRUE(holds(block, 90, 7));
  EXPECT_TRUE(is_all_zero(view_of(block, 100).subspan(90)));
  pool.release(block);
}

TEST(LockedPool, LargeBlocksComeAndGoWithTheirMapping) {
  LockedPool pool;
  EXPECT_EQ(pool.locked_bytes(), 0U);
  void* const small = pool.allocate(16);
  ASSERT_NE(small, nullptr);
  EXPECT_EQ(pool.locked_bytes(), LockedPool::kArenaBytes);
  void* const a = pool.allocate(LockedPool::kLargestPooledBytes + 1);
  void* const b = pool.allocate(300'000);
  ASSERT_TRUE(a != nullptr && b != nullptr);
  EXPECT_GE(pool.locked_bytes(), LockedPool::kArenaBytes + 300'000 + LockedPool::kLargestPooledBytes);
  pool.release(a);
  pool.release(b);
  EXPECT_EQ(pool.locked_bytes(), LockedPool::kArenaBytes);
  pool.release(small);
  EXPECT_EQ(pool.allocate(0), nullptr);
  EXPECT_EQ(pool.allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(pool.allocate(SIZE_MAX / 2), nullptr);
  pool.release(nullptr);
}

TEST(LockedPool, GrowsByArenasAndWastesLittle) {
  LockedPool pool;
  std::vector<void*> blocks;
  // 60 KiB blocks leave a rest of each arena, which then serves smaller blocks.
  for (int i = 0; i < 20; ++i) blocks.push_back(pool.allocate(60'000));
  const std::size_t grown = pool.locked_bytes();
  EXPECT_EQ(grown, 2 * LockedPool::kArenaBytes);
  for (int i = 0; i < 100; ++i) blocks.push_back(pool.allocate(200));
  EXPECT_EQ(pool.locked_bytes(), grown);
  for (void* const block : blocks) {
    ASSERT_NE(block, nullptr);
    pool.release(block);
  }
}

// The flags of the mapping that an address lies in, as the kernel tells them.
std::string mapping_flags(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long long begin = 0;
    unsigned long long end = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<std::uintptr_t>(address);
      inside = begin <= at && at < end;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

TEST(LockedPool, MemoryIsInNoCoreDumpAndNoChild) {
  LockedPool pool;
  for (const std::size_t size : {std::size_t{32}, LockedPool::kLargestPooledBytes + 1}) {
    void* const block = pool.allocate(size);
    ASSERT_NE(block, nullptr);
    const std::string flags = mapping_flags(block);
    EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
    EXPECT_NE(flags.find(" dc "), std::string::npos) << flags;
    pool.release(block);
  }
}

TEST(LockedPoolDeathTest, DoubleFreeAborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  LockedPool pool;
  void* const block = pool.allocate(48);
  ASSERT_NE(block, nullptr);
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "");
}

TEST(LockedPool, ManyThreadsNeverShareABlock) {
  LockedPool pool;
  std::atomic<int> wrong{0};
  const auto work = [&](unsigned id) {
    std::mt19937 random(id);
    std::vector<std::pair<void*, std::size_t>> mine;
    for (int round = 0; round < 3000; ++round) {
      if (mine.size() < 20 && random() % 2 == 0) {
        const std::size_t size = 1 + random() % 3000;
        void* const block = pool.allocate(size);
        if (block == nullptr || !is_all_zero(view_of(block, size))) {
          ++wrong;
          continue;
        }
        fill(block, size, id);
        mine.emplace_back(block, size);
      } else if (!mine.empty()) {
        const std::size_t at = random() % mine.size();
        if (!holds(mine[at].first, mine[at].second, id)) ++wrong;
        pool.release(mine[at].first);
        mine[at] = mine.back();
        mine.pop_back();
      }
    }
    for (const auto& [block, size] : mine) {
      if (!holds(block, size, id)) ++wrong;
      pool.release(block);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 6; ++id) threads.emplace_back(work, id);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace vaultfs
