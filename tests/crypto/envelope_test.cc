#include "crypto/envelope.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace vaultfs {
namespace {

// What a key vault unwraps is a key only in the place that it was wrapped for, and in the form of now.
TEST(EnvelopeTest, OpensInItsPlaceAndFormOnly) {
  const auto key = SecretBuffer::random(32);
  ASSERT_TRUE(key.ok());
  const auto envelope = encode_envelope(*key, bytes_of("here"));
  ASSERT_TRUE(envelope.ok());
  const auto opened = decode_envelope(*envelope, bytes_of("here"));
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(bytes_equal(opened->view(), key->view()));
  const auto code_of_opening = [](ByteView changed, std::string_view context) {
    const auto copy = SecretBuffer::copy_of(changed);
    const auto result = decode_envelope(*copy, bytes_of(context));
    return result.ok() ? ErrorCode::Internal : result.code();
  };
  EXPECT_EQ(code_of_opening(envelope->view(), "there"), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(code_of_opening(envelope->view().first(envelope->size() - 1), "here"), ErrorCode::AuthenticationFailed);
  Bytes other_form = to_bytes(envelope->view());
  other_form[0] = std::byte{2};
  EXPECT_EQ(code_of_opening(other_form, "here"), ErrorCode::AuthenticationFailed);
}

}  // namespace
}  // namespace vaultfs
