#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "base/bytes.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs::testing_crypto {

// The bytes of a hexadecimal vector.
inline Bytes hex(std::string_view text) {
  Bytes bytes;
  EXPECT_TRUE(from_hex(text, bytes)) << text;
  return bytes;
}

inline SecretBuffer secret(ByteView bytes) {
  auto buffer = SecretBuffer::copy_of(bytes);
  EXPECT_TRUE(buffer.ok());
  return std::move(buffer).value();
}
inline SecretBuffer secret(std::string_view text) { return secret(bytes_of(text)); }

// first, first + 1, … modulo 256.
inline Bytes counting(std::size_t size, unsigned first = 0) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((first + i) & 0xffU);
  return bytes;
}

inline const unsigned char* raw(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
inline unsigned char* raw_out(MutableByteView bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;  // the sanitizers make mlock do nothing
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace vaultfs::testing_crypto
