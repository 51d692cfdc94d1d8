#include "crypto/keyvault/kmip/credentials.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "crypto/files/private_file.h"
#include "crypto/files/trusted_file.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

using Certificate = OpensslHandle<X509, X509_free>;
using PrivateKey = OpensslHandle<EVP_PKEY, EVP_PKEY_free>;
using BioHandle = OpensslHandle<BIO, BIO_free>;

constexpr std::uint64_t kKmipPemLimitBytes = std::uint64_t{1024} * 1024;
constexpr std::size_t kKeyLimitBytes = std::size_t{64} * 1024;

Error bad_file(const char* option, const Env::Path& path, const std::string& why) {
  return {ErrorCode::KeyVaultUnavailable, std::string("the ") + option + " " + path.string() + " " + why};
}

// The error of a file that can't be read: none of it says anything about a key, so all but two are an outage.
Error unreadable(const char* option, const Env::Path& path, const Error& error) {
  if (error.code == ErrorCode::PermissionDenied || error.code == ErrorCode::MemoryLockFailed) return error;
  return bad_file(option, path, "can't be read: " + error.message);
}

// Refuses to ask for a passphrase, which OpenSSL would do on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<std::vector<Certificate>> parse_certificates(const char* option, const Env::Path& path,
                                                    const Result<Bytes>& text) {
  if (!text.ok()) return unreadable(option, path, text.error());
  const BioHandle bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  if (!bio) return openssl_error(ErrorCode::MemoryLockFailed, "no memory for certificates");
  std::vector<Certificate> certificates;
  while (true) {
    Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (!certificate) break;
    certificates.push_back(std::move(certificate));
  }
  // What ends the loop is always an error; that there is no further certificate is the good one.
  const unsigned long last = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (take_memory_failure()) return no_locked_memory("no memory for certificates");
  if (!at_end) return bad_file(option, path, "holds a certificate that can't be read");
  if (certificates.empty()) return bad_file(option, path, "holds no certificate in PEM form");
  return certificates;
}

Status load_ca(Env& env, const KmipSettings& settings, SSL_CTX* context) {
  // Whom to believe that he is the key vault: from a file that only its owner can change.
  const auto text =
      read_trusted_file(env, settings.ca_file, kKmipPemLimitBytes, "say whom vaultfs takes for the key vault");
  VAULTFS_ASSIGN_OR_RETURN(const auto certificates, parse_certificates("ca-file", settings.ca_file, text));
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  for (const Certificate& certificate : certificates) {
    if (X509_STORE_add_cert(store, certificate.get()) != 1) {
      return openssl_error(ErrorCode::KeyVaultUnavailable, "a certificate of the ca-file can't be used");
    }
  }
  return ok_status();
}

Status load_client(Env& env, const KmipSettings& settings, SSL_CTX* context) {
  VAULTFS_ASSIGN_OR_RETURN(auto chain,
                           parse_certificates("client-cert-file", settings.client_cert_file,
                                              read_file(env, settings.client_cert_file, kKmipPemLimitBytes)));
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1) {
    return openssl_error(ErrorCode::KeyVaultUnavailable, "the client-cert-file can't be used");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) {
      return openssl_error(ErrorCode::KeyVaultUnavailable, "the chain in the client-cert-file can't be used");
    }
  }
  const auto text = read_private_file(env, settings.client_key_file, kKeyLimitBytes);
  if (!text.ok()) return unreadable("client-key-file", settings.client_key_file, text.error());
  const BioHandle bio(BIO_new_mem_buf(text->view().data(), static_cast<int>(text->size())));
  if (!bio) return openssl_error(ErrorCode::MemoryLockFailed, "no memory for the client's key");
  const PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    if (take_memory_failure()) return no_locked_memory("no memory for the client's key");
    return bad_file("client-key-file", settings.client_key_file, "holds no private key in PEM form without passphrase");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    if (take_memory_failure()) return no_locked_memory("no memory for the client's key");
    return bad_file("client-key-file", settings.client_key_file, "does not belong to the client-cert-file");
  }
  return ok_status();
}

}  // namespace

Result<SslContext> make_kmip_ssl_context(Env& env, const KmipSettings& settings) {
  SslContext context(SSL_CTX_new(TLS_client_method()));
  if (!context) return openssl_error(ErrorCode::MemoryLockFailed, "no memory for TLS");
  if (SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
    return openssl_error(ErrorCode::KeyVaultUnavailable, "TLS 1.2 is not to be had");
  }
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  VAULTFS_RETURN_IF_ERROR(load_ca(env, settings, context.get()));
  VAULTFS_RETURN_IF_ERROR(load_client(env, settings, context.get()));
  return context;
}

}  // namespace vaultfs
