#include "base/bytes.h"

#include <gtest/gtest.h>

namespace vaultfs {
namespace {

TEST(IsAllZero, FindsEveryByteAtEverySize) {
  for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 31U, 32U, 33U, 100U, 4096U}) {
    Bytes bytes(size);
    EXPECT_TRUE(is_all_zero(bytes)) << size;
    for (std::size_t i = 0; i < size; ++i) {
      bytes[i] = std::byte{0x40};
      ASSERT_FALSE(is_all_zero(bytes)) << i << " of " << size;
      bytes[i] = std::byte{0};
    }
  }
  EXPECT_FALSE(is_all_zero(Bytes(64, std::byte{1}))) << "equal to itself shifted, but not zero";
}

TEST(BytesEqual, ComparesSizeAndContent) {
  EXPECT_TRUE(bytes_equal({}, {}));
  EXPECT_TRUE(bytes_equal(bytes_of("ab"), bytes_of("ab")));
  EXPECT_FALSE(bytes_equal(bytes_of("ab"), bytes_of("ac")));
  EXPECT_FALSE(bytes_equal(bytes_of("ab"), bytes_of("abc")));
}

TEST(Hex, BothWays) {
  Bytes bytes;
  ASSERT_TRUE(from_hex("00fF10aB", bytes));
  EXPECT_EQ(to_hex(bytes), "00ff10ab");
  ASSERT_TRUE(from_hex("", bytes));
  EXPECT_TRUE(bytes.empty());
  for (const std::string_view bad : {"0", "0g", "g0", "0 ", " 0", "0x12", "00\n", "0:", "0/", "0@", "0`"}) {
    bytes = to_bytes(bytes_of("left"));
    EXPECT_FALSE(from_hex(bad, bytes)) << bad;
    EXPECT_TRUE(bytes.empty()) << bad;
  }
}

}  // namespace
}  // namespace vaultfs
