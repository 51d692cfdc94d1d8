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

TEST(Base64, Rfc4648Vectors) {
  const std::pair<std::string_view, std::string_view> vectors[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
  };
  for (const auto& [plain, encoded] : vectors) {
    EXPECT_EQ(to_base64(bytes_of(plain)), encoded);
    Bytes decoded;
    ASSERT_TRUE(from_base64(encoded, decoded)) << encoded;
    EXPECT_EQ(text_of(decoded), plain);
  }
  const Bytes high = {std::byte{0xfb}, std::byte{0xff}, std::byte{0xfe}};
  EXPECT_EQ(to_base64(high), "+//+");
}

TEST(Base64, DecodingIsStrict) {
  for (const std::string_view bad : {"Z", "Zg", "Zg=", "Zg==Zg==", "Zm9=v", "====", "Zg=a",
                                     "Z===", "Zh==", "Zm9=", "Zm8", "Zm9v\n", "Zm 9", "Zm9-", "Zm9_", "=Zg="}) {
    Bytes decoded = to_bytes(bytes_of("left"));
    EXPECT_FALSE(from_base64(bad, decoded)) << bad;
    EXPECT_TRUE(decoded.empty()) << bad;
  }
}

TEST(Base64, EverySizeRoundTrips) {
  Bytes bytes;
  for (unsigned size = 0; size < 300; ++size) {
    Bytes decoded;
    ASSERT_TRUE(from_base64(to_base64(bytes), decoded));
    ASSERT_EQ(decoded, bytes);
    bytes.push_back(static_cast<std::byte>(size * 37));
  }
}

}  // namespace
}  // namespace vaultfs
