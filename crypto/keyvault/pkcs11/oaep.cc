#include "crypto/keyvault/pkcs11/oaep.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "crypto/openssl_handle.h"
#include "crypto/unsigned_chars.h"

namespace vaultfs {
namespace {

using KeyHandle = OpensslHandle<EVP_PKEY, EVP_PKEY_free>;
using KeyContext = OpensslHandle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using Number = OpensslHandle<BIGNUM, BN_free>;
using ParamBuilder = OpensslHandle<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using Params = OpensslHandle<OSSL_PARAM, OSSL_PARAM_free>;

constexpr std::size_t kExponentLimitBytes = 8;

Number big_number(ByteView bytes) {
  return Number(BN_bin2bn(unsigned_chars(bytes), static_cast<int>(bytes.size()), nullptr));
}

Result<KeyHandle> public_key(ByteView modulus, ByteView exponent) {
  const auto no_key = [] { return openssl_error(ErrorCode::InvalidArgument, "the token gives no RSA public key"); };
  constexpr std::size_t kLongestModulusBytes = 512;
  if (modulus.size() > kLongestModulusBytes + 1 || exponent.size() > kExponentLimitBytes) return no_key();
  const Number n = big_number(modulus);
  const Number e = big_number(exponent);
  if (n == nullptr || e == nullptr || !BN_is_odd(n.get()) || !BN_is_odd(e.get()) || BN_is_one(e.get())) return no_key();
  if (const int bits = BN_num_bits(n.get()); bits != 2048 && bits != 3072 && bits != 4096) {
    return Error{ErrorCode::KeySizeUnsupported,
                 "an RSA key of " + std::to_string(bits) + " bits can't be used; 2048, 3072 and 4096 can"};
  }
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  if (builder == nullptr || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return no_key();
  }
  const Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* key = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return no_key();
  }
  return KeyHandle(key);
}

}  // namespace

std::string_view oaep_algorithm(OaepHash hash) noexcept {
  return hash == OaepHash::sha256 ? "RSA-OAEP-256" : "RSA-OAEP";
}

Result<Bytes> oaep_encrypt(ByteView modulus, ByteView exponent, OaepHash hash, ByteView plaintext) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyHandle key, public_key(modulus, exponent));
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  const char* const digest = hash == OaepHash::sha256 ? "SHA256" : "SHA1";
  Bytes wrapped(static_cast<std::size_t>(EVP_PKEY_get_size(key.get())));
  std::size_t size = wrapped.size();
  if (context == nullptr || EVP_PKEY_encrypt_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) != 1 ||
      EVP_PKEY_CTX_set_rsa_oaep_md_name(context.get(), digest, nullptr) != 1 ||
      EVP_PKEY_CTX_set_rsa_mgf1_md_name(context.get(), digest, nullptr) != 1 ||
      EVP_PKEY_encrypt(context.get(), reinterpret_cast<unsigned char*>(wrapped.data()), &size,
                       unsigned_chars(plaintext), plaintext.size()) != 1) {
    return openssl_error(ErrorCode::InvalidArgument, "cannot wrap under an RSA public key");
  }
  wrapped.resize(size);
  return wrapped;
}

}  // namespace vaultfs
