#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// An RSA key pair or public key for RSA-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 section 7.1), empty label.
// 2048, 3072 or 4096 bits, anything else is KeySizeUnsupported; another algorithm is KeyNotRsa. Thread-safe after
// creation.
class RsaKey {
 public:
  virtual ~RsaKey() = default;
  [[nodiscard]] static Result<std::unique_ptr<RsaKey>> generate(unsigned bits);
  // PKCS#8 DER of a private key.
  [[nodiscard]] static Result<std::unique_ptr<RsaKey>> from_private_der(ByteView pkcs8);
  // SubjectPublicKeyInfo DER.
  [[nodiscard]] static Result<std::unique_ptr<RsaKey>> from_public_der(ByteView spki);
  // SubjectPublicKeyInfo PEM, as `openssl pkey -pubout` writes it. The key is checked as far as a public key can be
  // (NIST SP 800-56B Rev. 2, 6.4.2.2: an odd exponent above 2^16, a modulus without small factors): InvalidArgument.
  [[nodiscard]] static Result<std::unique_ptr<RsaKey>> from_public_pem(ByteView pem);
  // PKCS#8 PEM, encrypted (PBES2) or not; PassphraseRequired if encrypted and `passphrase` is null, WrongPassphrase,
  // NotSupported for older encryptions. The key is checked as a whole (InvalidArgument if it is damaged).
  [[nodiscard]] static Result<std::unique_ptr<RsaKey>> from_pem(ByteView pem, const SecretBuffer* passphrase);

  [[nodiscard]] virtual unsigned bits() const = 0;
  [[nodiscard]] virtual bool has_private() const = 0;
  [[nodiscard]] virtual Result<SecretBuffer> private_der() const = 0;
  [[nodiscard]] virtual Result<Bytes> public_der() const = 0;
  // PKCS#8 PEM, encrypted by AES-256-CBC under PBKDF2-HMAC-SHA-256 (600,000 iterations), readable by `openssl pkey`.
  [[nodiscard]] virtual Result<std::string> encrypted_pem(const SecretBuffer& passphrase) const = 0;
  // RSA-OAEP-256.
  [[nodiscard]] virtual Result<Bytes> encrypt(ByteView plaintext) const = 0;
  // AuthenticationFailed on any padding error, without telling which.
  [[nodiscard]] virtual Result<SecretBuffer> decrypt(ByteView ciphertext) const = 0;
};

}  // namespace vaultfs
