#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "crypto/aead.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

inline constexpr std::size_t kAesGcmNonceBytes = 12;  // the length that NIST SP 800-38D section 5.2.1.1 recommends

// The two implementations behind make_aes_256_gcm() (crypto/aead.h), which takes the faster one that this machine has.
// What one seals, the other opens. Apart from it, only tests and benchmarks call these.

// By OpenSSL's EVP. Runs everywhere.
[[nodiscard]] Result<std::unique_ptr<Aead>> make_openssl_aes_256_gcm(const SecretBuffer& key);
[[nodiscard]] Result<std::unique_ptr<Aead>> make_openssl_aes_256_gcm(ByteView key);

// By Intel's multi-buffer library, twice to three times as fast where there are AVX-512 and vector AES instructions.
// NotSupported where ipsec_mb_usable() (crypto/ipsec_mb.h) is false.
[[nodiscard]] Result<std::unique_ptr<Aead>> make_ipsec_mb_aes_256_gcm(const SecretBuffer& key);
[[nodiscard]] Result<std::unique_ptr<Aead>> make_ipsec_mb_aes_256_gcm(ByteView key);

}  // namespace vaultfs
