#include "base/heap_trim.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <vector>

#include "tests/support/units.h"

namespace vaultfs {
namespace {

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOtherAllocator = true;
#else
constexpr bool kOtherAllocator = false;
#endif

TEST(HeapTrim, GivesBackWhatLiesBetweenBlocksInUse) {
  if (kOtherAllocator) GTEST_SKIP() << "the sanitizer has an allocator of its own";
  constexpr std::size_t kBlock = 60'000;  // less than what gets a mapping of its own
  constexpr std::size_t kBlocks = 4000;
  std::vector<std::unique_ptr<std::vector<char>>> blocks;
  HeapTrim trim;
  trim.look();
  const std::uint64_t before = resident_bytes();
  for (std::size_t i = 0; i < kBlocks; ++i) blocks.push_back(std::make_unique<std::vector<char>>(kBlock, 'x'));
  // The last one stays, so that the heap's end does not come down by itself.
  blocks.erase(blocks.begin(), blocks.end() - 1);
  ASSERT_GT(resident_bytes(), before + 100 * kMiB)
      << "glibc gives it back by itself: this class is not needed any more";
  EXPECT_TRUE(trim.look());
  EXPECT_LT(resident_bytes(), before + 50 * kMiB);
  EXPECT_FALSE(trim.look()) << "nothing has grown since";
}

}  // namespace
}  // namespace vaultfs
