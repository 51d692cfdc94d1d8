#include "crypto/aead_contract.h"
#include "crypto/aes_gcm.h"

#ifdef VAULTFS_IPSEC_MB

#include <sodium.h>

#include <array>
#include <limits>
#include <memory>

#include "crypto/ipsec_mb_manager.h"
#include "crypto/memory/locked_pool.h"
#include "crypto/unsigned_chars.h"

namespace vaultfs {
namespace {

// NIST SP 800-38D, 5.2.1.1: at most 2^39 - 256 bits of plaintext under one nonce.
constexpr std::uint64_t kMostBytes = (std::uint64_t{1} << 36U) - 32;

class IpsecMbAes256Gcm final : public Aead {
 public:
  // The key schedule wants to lie at a multiple of 64, the pool gives multiples of 16.
  explicit IpsecMbAes256Gcm(ByteView key) : memory_(sizeof(gcm_key_data) + alignof(gcm_key_data)) {
    if (!memory_.ok()) return;
    void* place = memory_.mutable_view().data();
    std::size_t room = memory_.view().size();
    schedule_ = static_cast<gcm_key_data*>(std::align(alignof(gcm_key_data), sizeof(gcm_key_data), place, room));
    IMB_AES256_GCM_PRE(&manager_, unsigned_chars(key), schedule_);
  }
  [[nodiscard]] bool ok() const noexcept { return memory_.ok(); }

  [[nodiscard]] std::size_t nonce_bytes() const noexcept override { return kAesGcmNonceBytes; }

  [[nodiscard]] Status seal(ByteView nonce, ByteView aad, ByteView plaintext, MutableByteView out) const override {
    require_aead_contract(nonce, kAesGcmNonceBytes, plaintext, out);
    if (plaintext.size() > kMostBytes) return Error{ErrorCode::InvalidArgument, "too much for one AES-GCM message"};
    gcm_context_data context;
    IMB_AES256_GCM_ENC(&manager_, schedule_, &context, unsigned_chars(out), unsigned_chars(plaintext), plaintext.size(),
                       unsigned_chars(nonce), unsigned_chars(aad), aad.size(), unsigned_chars(out.last(kAeadTagBytes)),
                       kAeadTagBytes);
    sodium_memzero(&context, sizeof context);
    return ok_status();
  }

  [[nodiscard]] Status open(ByteView nonce, ByteView aad, ByteView sealed, MutableByteView out) const override {
    require_aead_contract(nonce, kAesGcmNonceBytes, out, sealed);
    if (out.size() > kMostBytes) return Error{ErrorCode::InvalidArgument, "too much for one AES-GCM message"};
    gcm_context_data context;
    std::array<std::uint8_t, kAeadTagBytes> tag{};
    // Where there is no ciphertext, the library still wants a place for it.
    std::uint8_t nothing = 0;
    std::uint8_t* const target = out.empty() ? &nothing : unsigned_chars(out);
    IMB_AES256_GCM_DEC(&manager_, schedule_, &context, target, unsigned_chars(sealed), out.size(),
                       unsigned_chars(nonce), unsigned_chars(aad), aad.size(), tag.data(), tag.size());
    sodium_memzero(&context, sizeof context);
    const bool authentic = sodium_memcmp(tag.data(), unsigned_chars(sealed.last(kAeadTagBytes)), tag.size()) == 0;
    sodium_memzero(tag.data(), tag.size());
    if (!authentic) {
      wipe(out);
      return Error{ErrorCode::AuthenticationFailed, "AES-256-GCM: the content is not as it was sealed"};
    }
    return ok_status();
  }

 private:
  IMB_MGR& manager_ = shared_ipsec_mb_manager();
  PooledSecret memory_;
  gcm_key_data* schedule_ = nullptr;  // in memory_; never changed after construction
};

}  // namespace

Result<std::unique_ptr<Aead>> make_ipsec_mb_aes_256_gcm(ByteView key) {
  if (key.size() != kAeadKeyBytes) return Error{ErrorCode::InvalidArgument, "an AES-256 key has 32 bytes"};
  auto aead = std::make_unique<IpsecMbAes256Gcm>(key);
  if (!aead->ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for an AES-256 key"};
  return std::unique_ptr<Aead>(std::move(aead));
}

}  // namespace vaultfs

#else

namespace vaultfs {

Result<std::unique_ptr<Aead>> make_ipsec_mb_aes_256_gcm(ByteView /*key*/) {
  return Error{ErrorCode::NotSupported, "built without the multi-buffer library"};
}

}  // namespace vaultfs

#endif

namespace vaultfs {

Result<std::unique_ptr<Aead>> make_ipsec_mb_aes_256_gcm(const SecretBuffer& key) {
  return make_ipsec_mb_aes_256_gcm(key.view());
}

}  // namespace vaultfs
