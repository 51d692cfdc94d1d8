#include <sodium.h>

#include <cstring>

#include "crypto/aead.h"
#include "crypto/aead_contract.h"
#include "crypto/memory/locked_pool.h"
#include "crypto/unsigned_chars.h"

namespace vaultfs {
namespace {

static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == kAeadKeyBytes);
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == kAeadTagBytes);
constexpr std::size_t kXChaChaNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;

class XChaCha20Poly1305 final : public Aead {
 public:
  explicit XChaCha20Poly1305(const SecretBuffer& key) : key_(kAeadKeyBytes) {
    if (key_.ok()) std::memcpy(key_.mutable_view().data(), key.view().data(), kAeadKeyBytes);
  }
  [[nodiscard]] bool ok() const noexcept { return key_.ok(); }

  [[nodiscard]] std::size_t nonce_bytes() const noexcept override { return kXChaChaNonceBytes; }

  [[nodiscard]] Status seal(ByteView nonce, ByteView aad, ByteView plaintext, MutableByteView out) const override {
    require_aead_contract(nonce, kXChaChaNonceBytes, plaintext, out);
    if (crypto_aead_xchacha20poly1305_ietf_encrypt(unsigned_chars(out), nullptr, unsigned_chars(plaintext),
                                                   plaintext.size(), unsigned_chars(aad), aad.size(), nullptr,
                                                   unsigned_chars(nonce), unsigned_chars(key_.view())) != 0) {
      wipe(out);
      return Error{ErrorCode::Internal, "XChaCha20-Poly1305 cannot seal"};
    }
    return ok_status();
  }

  [[nodiscard]] Status open(ByteView nonce, ByteView aad, ByteView sealed, MutableByteView out) const override {
    require_aead_contract(nonce, kXChaChaNonceBytes, out, sealed);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(unsigned_chars(out), nullptr, nullptr, unsigned_chars(sealed),
                                                   sealed.size(), unsigned_chars(aad), aad.size(),
                                                   unsigned_chars(nonce), unsigned_chars(key_.view())) != 0) {
      wipe(out);
      return Error{ErrorCode::AuthenticationFailed, "XChaCha20-Poly1305: the content is not as it was sealed"};
    }
    return ok_status();
  }

 private:
  PooledSecret key_;
};

}  // namespace

Result<std::unique_ptr<Aead>> make_xchacha20_poly1305(const SecretBuffer& key) {
  if (key.size() != kAeadKeyBytes) return Error{ErrorCode::InvalidArgument, "an XChaCha20-Poly1305 key has 32 bytes"};
  // libsodium picks its fastest implementation in sodium_init; a repeated call costs nothing.
  if (sodium_init() < 0) return Error{ErrorCode::Internal, "libsodium cannot start"};
  auto aead = std::make_unique<XChaCha20Poly1305>(key);
  if (!aead->ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for an XChaCha20-Poly1305 key"};
  return std::unique_ptr<Aead>(std::move(aead));
}

}  // namespace vaultfs
