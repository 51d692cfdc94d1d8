#pragma once

#include <openssl/x509.h>

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "crypto/openssl_handle.h"

namespace vaultfs {

// The text form of private keys: PKCS#8 (RFC 5208, RFC 5958) in PEM (RFC 7468), encrypted by PBES2 (RFC 8018) or not.
// An implementation header of rsa_key.cc.

using Pkcs8Handle = OpensslHandle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>;

// The first private key of a PEM text of at most 64 KiB; other text around it is skipped. PassphraseRequired if it is
// encrypted and `passphrase` is null, WrongPassphrase; KeyNotRsa for the old forms of other algorithms;
// InvalidArgument.
[[nodiscard]] Result<Pkcs8Handle> read_pkcs8_pem(ByteView pem, const SecretBuffer* passphrase);

// The first public key (SubjectPublicKeyInfo, RFC 5280) of a PEM text of at most 64 KiB, as DER; other text around it
// is skipped. InvalidArgument, also for a text that holds a private key instead: who wants a public key should not be
// handed the private one.
[[nodiscard]] Result<Bytes> read_public_pem(ByteView pem);

// PEM by AES-256-CBC under PBKDF2-HMAC-SHA-256 with 600,000 iterations and a 16-byte salt.
[[nodiscard]] Result<std::string> encrypt_pkcs8_pem(PKCS8_PRIV_KEY_INFO* info, const SecretBuffer& passphrase);

}  // namespace vaultfs
