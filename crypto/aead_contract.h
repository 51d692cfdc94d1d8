#pragma once

#include <cstdlib>
#include <functional>

#include "crypto/aead.h"

namespace vaultfs {

// Aborts unless Aead's REQUIRES hold: nonce's size, sealed text longer by one tag, no overlap.
inline void require_aead_contract(ByteView nonce, std::size_t nonce_bytes, ByteView plain, ByteView sealed) noexcept {
  if (nonce.size() != nonce_bytes || sealed.size() != plain.size() + kAeadTagBytes) std::abort();
  if (plain.empty()) return;
  // std::less orders pointers into different objects too.
  const std::less<> before;
  const bool apart =
      !before(plain.data(), sealed.data() + sealed.size()) || !before(sealed.data(), plain.data() + plain.size());
  if (!apart) std::abort();
}

}  // namespace vaultfs
