#pragma once

#include "base/bytes.h"

namespace vaultfs {

// Bytes as the unsigned chars that the C interfaces of OpenSSL, libsodium and PKCS#11 take.
[[nodiscard]] inline const unsigned char* unsigned_chars(ByteView bytes) noexcept {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
[[nodiscard]] inline unsigned char* unsigned_chars(MutableByteView bytes) noexcept {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

}  // namespace vaultfs
