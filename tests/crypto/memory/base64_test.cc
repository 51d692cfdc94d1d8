#include "crypto/memory/base64.h"

#include <gtest/gtest.h>

#include <utility>

namespace vaultfs {
namespace {

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

TEST(LockedBase64, IsStrictInBothForms) {
  const Bytes high = {std::byte{0xfb}, std::byte{0xff}, std::byte{0xfe}, std::byte{0xfa}};
  EXPECT_EQ(locked_base64(high, Base64::standard_padded), "+//++g==");
  EXPECT_EQ(locked_base64(high, Base64::url_unpadded), "-__--g");
  for (const auto& [form, text] :
       {std::pair{Base64::standard_padded, std::string_view("+//++g==")}, {Base64::url_unpadded, "-__--g"}}) {
    auto bytes = from_locked_base64(text, form);
    ASSERT_TRUE(bytes.ok());
    EXPECT_TRUE(bytes_equal(bytes->view(), high));
    EXPECT_TRUE(is_base64(text, form));
    EXPECT_TRUE(is_base64("", form));
  }
  const std::string_view zero("Zm9\0", 4);
  for (const std::string_view bad :
       {std::string_view("Z"), std::string_view("Zh"), std::string_view("Zm9"), std::string_view("Zg=="),
        std::string_view("Zg="), std::string_view("Zm8="), std::string_view("Zm9v\n"), std::string_view("Zm 9"),
        std::string_view("Zm9+"), std::string_view("Zm9/"), std::string_view("="), std::string_view("=="), zero}) {
    const auto bytes = from_locked_base64(bad, Base64::url_unpadded);
    ASSERT_FALSE(bytes.ok()) << bad;
    EXPECT_EQ(bytes.code(), ErrorCode::InvalidArgument) << bad;
    EXPECT_FALSE(is_base64(bad, Base64::url_unpadded)) << bad;
  }
  for (const std::string_view bad : {std::string_view("Zg"), std::string_view("Zg="), std::string_view("Zh=="),
                                     std::string_view("Zg==="), std::string_view("Zg==Zg=="), std::string_view("Zm9-"),
                                     std::string_view("Zm9_"), std::string_view("===="), std::string_view("="), zero}) {
    EXPECT_FALSE(is_base64(bad, Base64::standard_padded)) << bad;
    EXPECT_EQ(from_locked_base64(bad, Base64::standard_padded).code(), ErrorCode::InvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace vaultfs
