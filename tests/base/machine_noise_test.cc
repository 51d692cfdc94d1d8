#include "base/machine_noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

namespace vaultfs {
namespace {

// Where the kernel's generator gives the same bytes again, as after a snapshot, these differ.
TEST(MachineNoise, MakesEqualBytesDifferent) {
  std::set<Bytes> seen;
  for (int i = 0; i < 100; ++i) {
    Bytes bytes(16, std::byte{0x5a});
    mix_in_machine_noise(bytes);
    seen.insert(bytes);
  }
  EXPECT_EQ(seen.size(), 100U);
}

TEST(MachineNoise, TouchesNoMoreThanItIsGiven) {
  std::array<std::byte, 40> bytes{};
  for (std::size_t size = 0; size <= 32; ++size) {
    bytes.fill({});
    mix_in_machine_noise(MutableByteView(bytes).first(size));
    EXPECT_TRUE(is_all_zero(ByteView(bytes).subspan(std::min<std::size_t>(size, 16)))) << size;
  }
}

}  // namespace
}  // namespace vaultfs
