#pragma once

#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

inline constexpr std::size_t kAeadKeyBytes = 32;
inline constexpr std::size_t kAeadTagBytes = 16;

// One authenticated cipher under one key. Thread-safe: seal and open may be called from many threads at once.
// The caller answers for nonces: one may never be used twice for sealing under the same key.
class Aead {
 public:
  virtual ~Aead() = default;
  [[nodiscard]] virtual std::size_t nonce_bytes() const noexcept = 0;
  // Writes ciphertext ‖ tag. REQUIRES: nonce.size() == nonce_bytes(), out.size() == plaintext.size() + kAeadTagBytes,
  // out does not overlap plaintext.
  [[nodiscard]] virtual Status seal(ByteView nonce, ByteView aad, ByteView plaintext, MutableByteView out) const = 0;
  // Opens ciphertext ‖ tag. AuthenticationFailed if anything is not as sealed; `out` is then wiped.
  // REQUIRES: out.size() + kAeadTagBytes == sealed.size(), no overlap.
  [[nodiscard]] virtual Status open(ByteView nonce, ByteView aad, ByteView sealed, MutableByteView out) const = 0;
};

// AES-256-GCM, 12-byte nonce (NIST SP 800-38D), by OpenSSL's EVP. `key` is 32 bytes and is copied.
[[nodiscard]] Result<std::unique_ptr<Aead>> make_aes_256_gcm(const SecretBuffer& key);
// The same of a key in the caller's locked memory (PooledSecret), as short-lived keys are.
[[nodiscard]] Result<std::unique_ptr<Aead>> make_aes_256_gcm(ByteView key);

// XChaCha20-Poly1305 (IETF), 24-byte nonce, by libsodium. `key` is 32 bytes and is copied.
[[nodiscard]] Result<std::unique_ptr<Aead>> make_xchacha20_poly1305(const SecretBuffer& key);

}  // namespace vaultfs
