#include "crypto/rsa_pem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>

#include <array>
#include <string_view>

namespace vaultfs {
namespace {

constexpr std::size_t kMaxPemBytes = std::size_t{64} * 1024;
constexpr int kIterations = 600'000;
// A file may ask for no more than this, so that it can't keep the machine busy for hours.
constexpr long kMaxIterations = 20'000'000;
constexpr int kPbeSaltBytes = 16;

using Bio = OpensslHandle<BIO, BIO_free_all>;
using Signature = OpensslHandle<X509_SIG, X509_SIG_free>;
using Algorithm = OpensslHandle<X509_ALGOR, X509_ALGOR_free>;
using Pbe2 = OpensslHandle<PBE2PARAM, PBE2PARAM_free>;
using Pbkdf2 = OpensslHandle<PBKDF2PARAM, PBKDF2PARAM_free>;

Error not_a_key(const std::string& what) { return Error{ErrorCode::InvalidArgument, "the PEM file " + what}; }

// One block of a PEM text; its bytes may be a key in the clear and are wiped.
class PemBlock {
 public:
  PemBlock() = default;
  PemBlock(const PemBlock&) = delete;
  PemBlock& operator=(const PemBlock&) = delete;
  ~PemBlock() {
    OPENSSL_free(name_);
    OPENSSL_free(header_);
    if (data_ != nullptr) OPENSSL_clear_free(data_, static_cast<std::size_t>(size_));
  }
  [[nodiscard]] bool read(BIO* from) { return PEM_read_bio(from, &name_, &header_, &data_, &size_) == 1; }
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] const unsigned char* data() const { return data_; }
  [[nodiscard]] long size() const { return size_; }

 private:
  char* name_ = nullptr;
  char* header_ = nullptr;
  unsigned char* data_ = nullptr;
  long size_ = 0;
};

// PBES2 only, and no more iterations than a sensible writer would choose.
Status check_encryption(const X509_SIG& sealed) {
  const X509_ALGOR* algorithm = nullptr;
  const ASN1_OCTET_STRING* content = nullptr;
  X509_SIG_get0(&sealed, &algorithm, &content);
  if (OBJ_obj2nid(algorithm->algorithm) != NID_pbes2) {
    return Error{ErrorCode::NotSupported,
                 "the key is encrypted by an outdated method; convert it by `openssl pkey -aes256`"};
  }
  const Pbe2 pbe2(static_cast<PBE2PARAM*>(ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter)));
  if (pbe2 == nullptr) return openssl_error(ErrorCode::InvalidArgument, "the PEM file's encryption cannot be read");
  // scrypt, the other function, is bounded inside OpenSSL (32 MiB).
  if (OBJ_obj2nid(pbe2->keyfunc->algorithm) != NID_id_pbkdf2) return ok_status();
  const Pbkdf2 pbkdf2(
      static_cast<PBKDF2PARAM*>(ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), pbe2->keyfunc->parameter)));
  if (pbkdf2 == nullptr) return openssl_error(ErrorCode::InvalidArgument, "the PEM file's encryption cannot be read");
  const long iterations = ASN1_INTEGER_get(pbkdf2->iter);
  if (iterations <= 0 || iterations > kMaxIterations) {
    return not_a_key("asks for " + std::to_string(iterations) + " iterations, more than anyone would");
  }
  return ok_status();
}

Result<Pkcs8Handle> decrypt(const PemBlock& block, const SecretBuffer* passphrase) {
  const unsigned char* at = block.data();
  const Signature sealed(d2i_X509_SIG(nullptr, &at, block.size()));
  if (sealed == nullptr || at != block.data() + block.size()) {
    return openssl_error(ErrorCode::InvalidArgument, "the PEM file's encrypted key cannot be read");
  }
  VAULTFS_RETURN_IF_ERROR(check_encryption(*sealed));
  if (passphrase == nullptr || passphrase->empty()) {
    return Error{ErrorCode::PassphraseRequired, "the key is encrypted; give its passphrase"};
  }
  // CBC has no tag: a wrong passphrase shows as bad padding or, rarely, as content that is no key.
  Pkcs8Handle info(PKCS8_decrypt(sealed.get(), reinterpret_cast<const char*>(passphrase->view().data()),
                                 static_cast<int>(passphrase->size())));
  if (info == nullptr) {
    // scrypt wants 16 MiB by default, twice what ordinary users may lock.
    if (take_memory_failure()) return no_locked_memory("cannot open the key");
    return Error{ErrorCode::WrongPassphrase, "the passphrase does not open this key"};
  }
  return info;
}

Result<Bio> open_pem(ByteView pem) {
  if (pem.size() > kMaxPemBytes) return not_a_key("is larger than 64 KiB");
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (bio == nullptr) return openssl_error(ErrorCode::InvalidArgument, "the PEM file cannot be read");
  return bio;
}

}  // namespace

Result<Pkcs8Handle> read_pkcs8_pem(ByteView pem, const SecretBuffer* passphrase) {
  VAULTFS_ASSIGN_OR_RETURN(const Bio bio, open_pem(pem));
  for (;;) {
    PemBlock block;
    if (!block.read(bio.get())) {
      ERR_clear_error();
      return not_a_key("holds no PKCS#8 private key");
    }
    if (block.name() == PEM_STRING_PKCS8) return decrypt(block, passphrase);
    if (block.name() == PEM_STRING_PKCS8INF) {
      const unsigned char* at = block.data();
      Pkcs8Handle info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, block.size()));
      if (info == nullptr || at != block.data() + block.size()) {
        return openssl_error(ErrorCode::InvalidArgument, "the PEM file's key cannot be read");
      }
      return info;
    }
    if (block.name() == PEM_STRING_RSA) {
      return not_a_key("holds a key in an outdated form; convert it by `openssl pkcs8 -topk8`");
    }
    if (block.name() == PEM_STRING_ECPRIVATEKEY || block.name() == PEM_STRING_DSA) {
      return Error{ErrorCode::KeyNotRsa, "the key is not an RSA key; vaults are encrypted under RSA keys only"};
    }
  }
}

Result<Bytes> read_public_pem(ByteView pem) {
  VAULTFS_ASSIGN_OR_RETURN(const Bio bio, open_pem(pem));
  for (;;) {
    PemBlock block;
    if (!block.read(bio.get())) {
      ERR_clear_error();
      return not_a_key("holds no public key");
    }
    if (block.name() == PEM_STRING_PUBLIC) {
      const auto* data = reinterpret_cast<const std::byte*>(block.data());
      return Bytes(data, data + block.size());
    }
    if (block.name().ends_with("PRIVATE KEY")) {
      return not_a_key("holds a private key; give its public half, as `openssl pkey -in FILE -pubout` prints it");
    }
    if (block.name() == PEM_STRING_RSA_PUBLIC) {
      return not_a_key(
          "holds a key in an outdated form; convert it by `openssl rsa -RSAPublicKey_in -in FILE -pubout`");
    }
    if (block.name() == PEM_STRING_X509) {
      return not_a_key("holds a certificate; give its key, as `openssl x509 -in FILE -pubkey -noout` prints it");
    }
  }
}

Result<std::string> encrypt_pkcs8_pem(PKCS8_PRIV_KEY_INFO* info, const SecretBuffer& passphrase) {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  std::array<unsigned char, kPbeSaltBytes> salt{};
  if (cipher == nullptr || RAND_bytes(salt.data(), kPbeSaltBytes) != 1) {
    return openssl_error(ErrorCode::Internal, "cannot encrypt a private key");
  }
  Algorithm algorithm(PKCS5_pbe2_set_iv(cipher, kIterations, salt.data(), kPbeSaltBytes, nullptr, NID_hmacWithSHA256));
  if (algorithm == nullptr) return openssl_error(ErrorCode::Internal, "cannot encrypt a private key");
  const Signature sealed(PKCS8_set0_pbe(reinterpret_cast<const char*>(passphrase.view().data()),
                                        static_cast<int>(passphrase.size()), info, algorithm.get()));
  if (sealed == nullptr) return openssl_error(ErrorCode::Internal, "cannot encrypt a private key");
  static_cast<void>(algorithm.release());  // taken over by `sealed`
  const Bio bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_PKCS8(bio.get(), sealed.get()) != 1) {
    return openssl_error(ErrorCode::Internal, "cannot write a private key as PEM");
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

}  // namespace vaultfs
