#include "crypto/memory/plaintext_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace vaultfs {
namespace {

void fill_scratch(PlaintextScratch& scratch, std::size_t size) {
  const auto use = scratch.use(size);
  std::ranges::fill(use.bytes(), std::byte{0xaa});
}

TEST(PlaintextScratchTest, GrowingCopiesNothing) {
  PlaintextScratch scratch;
  fill_scratch(scratch, 100);
  EXPECT_TRUE(is_all_zero(scratch.use(1000).bytes()));
}

TEST(PlaintextScratchTest, SealingWipesThoseOfAllThreads) {
  PlaintextScratch scratch;
  std::thread([&] { fill_scratch(scratch, 100); }).join();
  EXPECT_FALSE(is_all_zero(scratch.use(100).bytes()));
  wipe_plaintext_memory();
  EXPECT_TRUE(is_all_zero(scratch.use(100).bytes()));
}

TEST(PlaintextScratchTest, SealingWaitsForAUseUnderWay) {
  PlaintextScratch scratch;
  std::optional<PlaintextScratch::Use> use(scratch.use(100));
  std::atomic<bool> wiped{false};
  std::jthread wiping([&] {
    wipe_plaintext_memory();
    wiped = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(wiped);
  std::ranges::fill(use->bytes(), std::byte{0xaa});
  use.reset();
  wiping.join();
  EXPECT_TRUE(is_all_zero(scratch.use(100).bytes()));
}

TEST(PlaintextScratchTest, WhatIsGoneIsWipedNoMore) {
  int wipes = 0;
  {
    const WipedOnSealing registered([&] { ++wipes; });
    wipe_plaintext_memory();
    EXPECT_EQ(wipes, 1);
  }
  wipe_plaintext_memory();
  EXPECT_EQ(wipes, 1);
}

}  // namespace
}  // namespace vaultfs
