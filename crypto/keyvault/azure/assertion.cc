#include "crypto/keyvault/azure/assertion.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <limits>
#include <string>

#include "crypto/hash.h"
#include "crypto/keyvault/http/json_answer.h"
#include "crypto/memory/base64.h"
#include "crypto/openssl_handle.h"

namespace vaultfs {
namespace {

using BioChainHandle = OpensslHandle<BIO, BIO_free_all>;
using CertificateHandle = OpensslHandle<X509, X509_free>;
using SigningKeyHandle = OpensslHandle<EVP_PKEY, EVP_PKEY_free>;
using SignHandle = OpensslHandle<EVP_MD_CTX, EVP_MD_CTX_free>;

constexpr int kLeastBits = 2048;
constexpr std::int64_t kValiditySeconds = 600;

Error unusable(const std::string& why) { return openssl_error(ErrorCode::InvalidArgument, why); }

// OpenSSL would otherwise ask for a passphrase at the terminal.
int empty_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*context*/) { return 0; }

Result<BioChainHandle> reader_of(ByteView pem) {
  if (pem.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return unusable("the file is too long");
  BioChainHandle bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return unusable("the file can't be read");
  return bio;
}

struct Credential {
  CertificateHandle certificate;
  SigningKeyHandle key;
};

Result<Credential> read_credential(ByteView pem) {
  Credential credential;
  {
    VAULTFS_ASSIGN_OR_RETURN(const BioChainHandle bio, reader_of(pem));
    credential.certificate.reset(PEM_read_bio_X509(bio.get(), nullptr, empty_passphrase, nullptr));
  }
  VAULTFS_ASSIGN_OR_RETURN(const BioChainHandle bio, reader_of(pem));
  credential.key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, empty_passphrase, nullptr));
  if (!credential.certificate || !credential.key) {
    return unusable("it is to hold a certificate and its private key, not encrypted, in PEM");
  }
  if (X509_check_private_key(credential.certificate.get(), credential.key.get()) != 1) {
    return unusable("the private key is not the certificate's");
  }
  if (EVP_PKEY_get_base_id(credential.key.get()) != EVP_PKEY_RSA ||
      EVP_PKEY_get_bits(credential.key.get()) < kLeastBits) {
    return Error{ErrorCode::InvalidArgument, "the private key is not RSA of at least 2048 bits"};
  }
  return credential;
}

Result<LockedText> thumbprint_of(const X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return unusable("the certificate can't be encoded");
  const Digest digest = sha256(std::as_bytes(std::span(der, static_cast<std::size_t>(size))));
  OPENSSL_free(der);
  return locked_base64(digest.view(), Base64::url_unpadded);
}

Result<LockedText> signature_of(const LockedText& text, EVP_PKEY* key) {
  const SignHandle context(EVP_MD_CTX_new());
  const auto* const input = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t size = 0;
  // RS256 is RSASSA-PKCS1-v1_5, OpenSSL's default for RSA.
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, input, text.size()) != 1) {
    return unusable("the key does not sign");
  }
  Bytes signature(size);
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, input, text.size()) !=
      1) {
    return unusable("the key does not sign");
  }
  signature.resize(size);
  return locked_base64(signature, Base64::url_unpadded);
}

}  // namespace

Result<LockedText> make_client_assertion(ByteView pem, std::string_view client_id, std::string_view audience,
                                         std::string_view id, std::int64_t now_unix_seconds) {
  VAULTFS_ASSIGN_OR_RETURN(const Credential credential, read_credential(pem));
  VAULTFS_ASSIGN_OR_RETURN(const LockedText thumbprint, thumbprint_of(credential.certificate.get()));
  LockedText header(R"({"alg":"RS256","typ":"JWT","x5t#S256":")");
  header.append(thumbprint).append("\"}");
  LockedText claims("{\"aud\":");
  append_json_string(claims, audience);
  for (const auto& [name, value] :
       {std::pair(",\"iss\":", client_id), std::pair(",\"sub\":", client_id), std::pair(",\"jti\":", id)}) {
    claims.append(name);
    append_json_string(claims, value);
  }
  const std::string now = std::to_string(now_unix_seconds);
  const std::string end = std::to_string(now_unix_seconds + kValiditySeconds);
  claims.append(",\"iat\":").append(now).append(",\"nbf\":").append(now).append(",\"exp\":").append(end).append("}");

  LockedText token = locked_base64(bytes_of(header), Base64::url_unpadded);
  token.append(".").append(locked_base64(bytes_of(claims), Base64::url_unpadded));
  VAULTFS_ASSIGN_OR_RETURN(const LockedText signature, signature_of(token, credential.key.get()));
  token.append(".").append(signature);
  return token;
}

}  // namespace vaultfs
