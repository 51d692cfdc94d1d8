#include "crypto/rsa_key.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <limits>

#include "crypto/openssl_handle.h"
#include "crypto/rsa_pem.h"
#include "crypto/unsigned_chars.h"

namespace vaultfs {
namespace {

using KeyHandle = OpensslHandle<EVP_PKEY, EVP_PKEY_free>;
using KeyContext = OpensslHandle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using Pkcs8 = OpensslHandle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>;

constexpr std::size_t kMaxDerBytes = std::size_t{64} * 1024;
constexpr std::size_t kOaepOverheadBytes = std::size_t{2} * 32 + 2;  // RFC 8017 section 7.1.1: 2 hLen + 2

bool size_supported(unsigned bits) { return bits == 2048 || bits == 3072 || bits == 4096; }

bool set_oaep(EVP_PKEY_CTX* context) {
  static const EVP_MD* const digest = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return digest != nullptr && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_oaep_md(context, digest) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) == 1;
}

class OpensslRsaKey final : public RsaKey {
 public:
  OpensslRsaKey(KeyHandle key, bool has_private) : key_(std::move(key)), has_private_(has_private) {}

  [[nodiscard]] unsigned bits() const override { return static_cast<unsigned>(EVP_PKEY_get_bits(key_.get())); }
  [[nodiscard]] bool has_private() const override { return has_private_; }

  [[nodiscard]] Result<SecretBuffer> private_der() const override {
    VAULTFS_RETURN_IF_ERROR(require_private());
    const Pkcs8 info(EVP_PKEY2PKCS8(key_.get()));
    const int size = info == nullptr ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
    if (size <= 0) return openssl_error(ErrorCode::Internal, "cannot encode an RSA private key");
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer der, SecretBuffer::allocate(static_cast<std::size_t>(size)));
    unsigned char* out = unsigned_chars(der.mutable_view());
    if (i2d_PKCS8_PRIV_KEY_INFO(info.get(), &out) != size) {
      return openssl_error(ErrorCode::Internal, "cannot encode an RSA private key");
    }
    return der;
  }

  [[nodiscard]] Result<Bytes> public_der() const override {
    const int size = i2d_PUBKEY(key_.get(), nullptr);
    if (size <= 0) return openssl_error(ErrorCode::Internal, "cannot encode an RSA public key");
    Bytes der(static_cast<std::size_t>(size));
    unsigned char* out = unsigned_chars(MutableByteView(der));
    if (i2d_PUBKEY(key_.get(), &out) != size) {
      return openssl_error(ErrorCode::Internal, "cannot encode an RSA public key");
    }
    return der;
  }

  [[nodiscard]] Result<std::string> encrypted_pem(const SecretBuffer& passphrase) const override {
    VAULTFS_RETURN_IF_ERROR(require_private());
    if (passphrase.empty()) return Error{ErrorCode::PassphraseRequired, "the passphrase is empty"};
    const Pkcs8 info(EVP_PKEY2PKCS8(key_.get()));
    if (info == nullptr) return openssl_error(ErrorCode::Internal, "cannot encode an RSA private key");
    return encrypt_pkcs8_pem(info.get(), passphrase);
  }

  [[nodiscard]] Result<Bytes> encrypt(ByteView plaintext) const override {
    const std::size_t modulus_bytes = bits() / 8;
    if (plaintext.size() > modulus_bytes - kOaepOverheadBytes) {
      return Error{ErrorCode::InvalidArgument, "too long for one RSA-OAEP message"};
    }
    const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr));
    Bytes out(modulus_bytes);
    std::size_t size = out.size();
    // OpenSSL takes no null pointer for an empty message.
    const std::byte nothing{};
    const ByteView message = plaintext.empty() ? ByteView(&nothing, 0) : plaintext;
    if (context == nullptr || EVP_PKEY_encrypt_init(context.get()) != 1 || !set_oaep(context.get()) ||
        EVP_PKEY_encrypt(context.get(), unsigned_chars(MutableByteView(out)), &size, unsigned_chars(message),
                         message.size()) != 1 ||
        size != modulus_bytes) {
      return openssl_error(ErrorCode::Internal, "RSA-OAEP cannot encrypt");
    }
    return out;
  }

  [[nodiscard]] Result<SecretBuffer> decrypt(ByteView ciphertext) const override {
    VAULTFS_RETURN_IF_ERROR(require_private());
    const std::size_t modulus_bytes = bits() / 8;
    const Error refused{ErrorCode::AuthenticationFailed, "RSA-OAEP: this was not encrypted to this key"};
    if (ciphertext.size() != modulus_bytes) return refused;
    const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr));
    if (context == nullptr || EVP_PKEY_decrypt_init(context.get()) != 1 || !set_oaep(context.get())) {
      return openssl_error(ErrorCode::Internal, "RSA-OAEP cannot decrypt");
    }
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer out, SecretBuffer::allocate(modulus_bytes));
    std::size_t size = out.size();
    // Every failure gives the same answer: telling them apart would be Manger's oracle (RFC 8017 section 7.1.2).
    if (EVP_PKEY_decrypt(context.get(), unsigned_chars(out.mutable_view()), &size, unsigned_chars(ciphertext),
                         ciphertext.size()) != 1) {
      if (take_memory_failure()) return no_locked_memory("RSA-OAEP cannot decrypt");
      return refused;
    }
    return SecretBuffer::copy_of(out.view().first(size));
  }

 private:
  [[nodiscard]] Status require_private() const {
    if (has_private_) return ok_status();
    return Error{ErrorCode::InvalidArgument, "the private part of this RSA key is not here"};
  }

  // Its lazily made parts (Montgomery contexts, blinding) are locked by OpenSSL itself.
  KeyHandle key_;
  bool has_private_;
};

// Takes a decoded key if it is one that the vault supports.
Result<std::unique_ptr<RsaKey>> adopt(KeyHandle key, bool has_private) {
  // RSA-PSS keys, which may only sign, are an algorithm of their own here.
  if (EVP_PKEY_is_a(key.get(), "RSA") != 1) {
    return Error{ErrorCode::KeyNotRsa, "the key is not an RSA key; vaults are encrypted under RSA keys only"};
  }
  const int bits = EVP_PKEY_get_bits(key.get());
  if (bits <= 0 || !size_supported(static_cast<unsigned>(bits))) {
    return Error{ErrorCode::KeySizeUnsupported,
                 "an RSA key of " + std::to_string(bits) + " bits; 2048, 3072 and 4096 are supported"};
  }
  return std::unique_ptr<RsaKey>(std::make_unique<OpensslRsaKey>(std::move(key), has_private));
}

Result<std::unique_ptr<RsaKey>> adopt_pkcs8(const PKCS8_PRIV_KEY_INFO& info) {
  const ASN1_OBJECT* algorithm = nullptr;
  if (PKCS8_pkey_get0(&algorithm, nullptr, nullptr, nullptr, &info) == 1 &&
      OBJ_obj2nid(algorithm) != NID_rsaEncryption) {
    return Error{ErrorCode::KeyNotRsa, "the key is not an RSA key; vaults are encrypted under RSA keys only"};
  }
  KeyHandle key(EVP_PKCS82PKEY(&info));
  if (key == nullptr) return openssl_error(ErrorCode::InvalidArgument, "the RSA private key cannot be read");
  return adopt(std::move(key), true);
}

// An imported key is checked as a whole (primes, exponents, CRT values), which takes up to a second at 4096 bits: a
// trial is not enough, because OpenSSL makes up for a damaged CRT value by the private exponent, and the other way
// round.
Status require_consistent(const PKCS8_PRIV_KEY_INFO& info) {
  const KeyHandle key(EVP_PKCS82PKEY(&info));
  const KeyContext context(key == nullptr ? nullptr : EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (context != nullptr && EVP_PKEY_pairwise_check(context.get()) == 1) return ok_status();
  return openssl_error(ErrorCode::InvalidArgument, "the RSA private key is damaged");
}

}  // namespace

Result<std::unique_ptr<RsaKey>> RsaKey::generate(unsigned bits) {
  if (!size_supported(bits)) {
    return Error{ErrorCode::KeySizeUnsupported,
                 "an RSA key of " + std::to_string(bits) + " bits; 2048, 3072 and 4096 are supported"};
  }
  KeyHandle key(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<std::size_t>(bits)));
  if (key == nullptr) return openssl_error(ErrorCode::Internal, "cannot generate an RSA key");
  return adopt(std::move(key), true);
}

Result<std::unique_ptr<RsaKey>> RsaKey::from_private_der(ByteView pkcs8) {
  if (pkcs8.empty() || pkcs8.size() > kMaxDerBytes) {
    return Error{ErrorCode::InvalidArgument, "no RSA private key has " + std::to_string(pkcs8.size()) + " bytes"};
  }
  const unsigned char* at = unsigned_chars(pkcs8);
  const Pkcs8 info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(pkcs8.size())));
  if (info == nullptr) return openssl_error(ErrorCode::InvalidArgument, "not a PKCS#8 private key");
  if (at != unsigned_chars(pkcs8) + pkcs8.size())
    return Error{ErrorCode::InvalidArgument, "bytes after the PKCS#8 private key"};
  return adopt_pkcs8(*info);
}

Result<std::unique_ptr<RsaKey>> RsaKey::from_public_der(ByteView spki) {
  if (spki.empty() || spki.size() > kMaxDerBytes) {
    return Error{ErrorCode::InvalidArgument, "no RSA public key has " + std::to_string(spki.size()) + " bytes"};
  }
  const unsigned char* at = unsigned_chars(spki);
  KeyHandle key(d2i_PUBKEY(nullptr, &at, static_cast<long>(spki.size())));
  if (key == nullptr) return openssl_error(ErrorCode::InvalidArgument, "not a public key");
  if (at != unsigned_chars(spki) + spki.size()) return Error{ErrorCode::InvalidArgument, "bytes after the public key"};
  return adopt(std::move(key), false);
}

Result<std::unique_ptr<RsaKey>> RsaKey::from_public_pem(ByteView pem) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes der, read_public_pem(pem));
  VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<RsaKey> key, from_public_der(der));
  const unsigned char* at = unsigned_chars(der);
  const KeyHandle again(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));
  const KeyContext context(again == nullptr ? nullptr : EVP_PKEY_CTX_new_from_pkey(nullptr, again.get(), nullptr));
  if (context == nullptr || EVP_PKEY_public_check(context.get()) != 1) {
    return openssl_error(ErrorCode::InvalidArgument, "the RSA public key is damaged or weak");
  }
  return key;
}

Result<std::unique_ptr<RsaKey>> RsaKey::from_pem(ByteView pem, const SecretBuffer* passphrase) {
  VAULTFS_ASSIGN_OR_RETURN(const Pkcs8 info, read_pkcs8_pem(pem, passphrase));
  VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<RsaKey> key, adopt_pkcs8(*info));
  VAULTFS_RETURN_IF_ERROR(require_consistent(*info));
  return key;
}

}  // namespace vaultfs
