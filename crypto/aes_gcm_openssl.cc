#include <openssl/err.h>
#include <openssl/evp.h>

#include <cstring>
#include <limits>
#include <vector>

#include "base/thread/mutex.h"
#include "crypto/aead_contract.h"
#include "crypto/aes_gcm.h"
#include "crypto/memory/locked_pool.h"
#include "crypto/openssl_handle.h"
#include "crypto/unsigned_chars.h"

namespace vaultfs {
namespace {

using Context = OpensslHandle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

const EVP_CIPHER* aes_256_gcm_algorithm() {
  // Fetched once: an implicit fetch in every initialisation costs a quarter of the speed at 4 KiB.
  static const EVP_CIPHER* const algorithm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return algorithm;
}

// OpenSSL counts in int.
bool fits(ByteView bytes) {
  return bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) - kAeadTagBytes;
}

class OpensslAes256Gcm final : public Aead {
 public:
  explicit OpensslAes256Gcm(ByteView key) : key_(kAeadKeyBytes) {
    if (key_.ok()) std::memcpy(key_.mutable_view().data(), key.data(), kAeadKeyBytes);
  }
  [[nodiscard]] bool ok() const noexcept { return key_.ok(); }

  [[nodiscard]] std::size_t nonce_bytes() const noexcept override { return kAesGcmNonceBytes; }

  [[nodiscard]] Status seal(ByteView nonce, ByteView aad, ByteView plaintext, MutableByteView out) const override {
    require_aead_contract(nonce, kAesGcmNonceBytes, plaintext, out);
    if (!fits(plaintext) || !fits(aad)) return Error{ErrorCode::InvalidArgument, "too much for one AES-GCM message"};
    VAULTFS_ASSIGN_OR_RETURN(Context context, take());
    const MutableByteView tag = out.last(kAeadTagBytes);
    EVP_CIPHER_CTX* const c = context.get();
    int n = 0;
    const bool sealed =
        EVP_CipherInit_ex2(c, nullptr, nullptr, unsigned_chars(nonce), 1, nullptr) == 1 &&
        (aad.empty() || EVP_CipherUpdate(c, nullptr, &n, unsigned_chars(aad), static_cast<int>(aad.size())) == 1) &&
        (plaintext.empty() || EVP_CipherUpdate(c, unsigned_chars(out), &n, unsigned_chars(plaintext),
                                               static_cast<int>(plaintext.size())) == 1) &&
        EVP_CipherFinal_ex(c, unsigned_chars(tag), &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kAeadTagBytes), tag.data()) == 1;
    // A context after an unexpected failure is in an unknown state and is dropped, not given back.
    if (!sealed) {
      wipe(out);
      return openssl_error(ErrorCode::Internal, "AES-256-GCM cannot seal");
    }
    give_back(std::move(context));
    return ok_status();
  }

  [[nodiscard]] Status open(ByteView nonce, ByteView aad, ByteView sealed, MutableByteView out) const override {
    require_aead_contract(nonce, kAesGcmNonceBytes, out, sealed);
    if (!fits(sealed) || !fits(aad)) return Error{ErrorCode::InvalidArgument, "too much for one AES-GCM message"};
    VAULTFS_ASSIGN_OR_RETURN(Context context, take());
    const ByteView ciphertext = sealed.first(out.size());
    std::array<std::byte, kAeadTagBytes> tag;
    std::memcpy(tag.data(), sealed.data() + out.size(), kAeadTagBytes);
    EVP_CIPHER_CTX* const c = context.get();
    int n = 0;
    const bool ready =
        EVP_CipherInit_ex2(c, nullptr, nullptr, unsigned_chars(nonce), 0, nullptr) == 1 &&
        (aad.empty() || EVP_CipherUpdate(c, nullptr, &n, unsigned_chars(aad), static_cast<int>(aad.size())) == 1) &&
        (ciphertext.empty() || EVP_CipherUpdate(c, unsigned_chars(out), &n, unsigned_chars(ciphertext),
                                                static_cast<int>(ciphertext.size())) == 1) &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kAeadTagBytes), tag.data()) == 1;
    if (!ready) {
      wipe(out);
      return openssl_error(ErrorCode::Internal, "AES-256-GCM cannot open");
    }
    std::array<unsigned char, kAeadTagBytes> nothing{};  // GCM gives no bytes at the end
    const bool authentic = EVP_CipherFinal_ex(c, nothing.data(), &n) == 1;
    give_back(std::move(context));
    if (!authentic) {
      wipe(out);
      ERR_clear_error();
      return Error{ErrorCode::AuthenticationFailed, "AES-256-GCM: the content is not as it was sealed"};
    }
    return ok_status();
  }

 private:
  // A context that has the key already: setting it up (key schedule, GHASH tables) costs as much as sealing 1 KiB.
  [[nodiscard]] Result<Context> take() const {
    {
      const MutexLock lock(mutex_);
      if (!idle_.empty()) {
        Context context = std::move(idle_.back());
        idle_.pop_back();
        return context;
      }
    }
    Context context(EVP_CIPHER_CTX_new());
    if (context == nullptr || EVP_CipherInit_ex2(context.get(), aes_256_gcm_algorithm(), unsigned_chars(key_.view()),
                                                 nullptr, 1, nullptr) != 1) {
      return openssl_error(ErrorCode::Internal, "AES-256-GCM cannot be set up");
    }
    return context;
  }

  void give_back(Context context) const {
    const MutexLock lock(mutex_);
    idle_.push_back(std::move(context));
  }

  PooledSecret key_;
  mutable Mutex mutex_;  // A leaf in the lock order.
  // At most as many as there ever were calls at the same time.
  mutable std::vector<Context> idle_ GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<Aead>> make_openssl_aes_256_gcm(const SecretBuffer& key) {
  return make_openssl_aes_256_gcm(key.view());
}

Result<std::unique_ptr<Aead>> make_openssl_aes_256_gcm(ByteView key) {
  if (key.size() != kAeadKeyBytes) return Error{ErrorCode::InvalidArgument, "an AES-256 key has 32 bytes"};
  if (aes_256_gcm_algorithm() == nullptr) return openssl_error(ErrorCode::Internal, "OpenSSL has no AES-256-GCM");
  auto aead = std::make_unique<OpensslAes256Gcm>(key);
  if (!aead->ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for an AES-256 key"};
  return std::unique_ptr<Aead>(std::move(aead));
}

}  // namespace vaultfs
