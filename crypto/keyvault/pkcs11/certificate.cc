#include "crypto/keyvault/pkcs11/certificate.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace vaultfs {
namespace {

struct X509Free {
  void operator()(X509* certificate) const noexcept { X509_free(certificate); }
};
struct BignumFree {
  void operator()(BIGNUM* number) const noexcept { BN_free(number); }
};

ByteView without_leading_zeros(ByteView number) noexcept {
  const auto first = std::ranges::find_if(number, [](std::byte b) { return b != std::byte{0}; });
  return number.subspan(static_cast<std::size_t>(first - number.begin()));
}

// The RSA modulus in a certificate (DER); nothing if it holds none that can be read.
std::optional<Bytes> modulus_of(ByteView der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<X509, X509Free> certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  EVP_PKEY* key = certificate ? X509_get0_pubkey(certificate.get()) : nullptr;
  BIGNUM* raw = nullptr;
  const bool read = key != nullptr && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &raw) == 1;
  const std::unique_ptr<BIGNUM, BignumFree> modulus(raw);
  ERR_clear_error();
  if (!read) return std::nullopt;
  Bytes bytes(static_cast<std::size_t>(BN_num_bytes(modulus.get())));
  BN_bn2bin(modulus.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  return bytes;
}

}  // namespace

Result<bool> pkcs11_has_certificate(Pkcs11Session& session, const Pkcs11KeyObject& key) {
  if (!key.is_rsa()) return false;
  Bytes id;
  (void)from_hex(key.id, id);
  CK_OBJECT_CLASS object_class = CKO_CERTIFICATE;
  VAULTFS_ASSIGN_OR_RETURN(const auto found, session.find({pkcs11_attribute(CKA_CLASS, object_class),
                                                           pkcs11_attribute(CKA_ID, ByteView(id))}));
  for (const CK_OBJECT_HANDLE handle : found) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes der, session.bytes(handle, CKA_VALUE));
    const std::optional<Bytes> modulus = modulus_of(der);
    if (key.modulus.empty() || !modulus) return true;
    if (bytes_equal(without_leading_zeros(*modulus), without_leading_zeros(key.modulus))) return true;
  }
  return false;
}

}  // namespace vaultfs
