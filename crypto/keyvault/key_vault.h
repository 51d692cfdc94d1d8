#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Bound to every wrap by providers whose cipher takes associated data.
inline constexpr std::string_view kKekWrapAssociatedData = "vaultfs/1 kek wrap";
// What RSA-OAEP-256 takes with the smallest modulus, of 2048 bits (RFC 8017 section 7.1.1): no provider takes more, so
// that a vault can move from any to any.
inline constexpr std::size_t kWrapLimitBytes = 190;

// What a key vault says of one version of a key.
struct KeyVersionInfo {
  std::string id;  // native version id
  std::int64_t created_unix_seconds = 0;
  bool enabled = true;
  std::optional<std::int64_t> not_before;  // nbf, Unix seconds
  std::optional<std::int64_t> expires;     // exp, Unix seconds
  std::string key_type;                    // "RSA", "AES"; whatever else a key vault holds cannot be a KEK
  unsigned bits = 0;
  // It belongs to a certificate, and comes and goes with it: nobody is to choose it for a KEK (KeyOfCertificate).
  bool of_certificate = false;

  // May wrap at that time: enabled and within nbf/exp. Outside nbf/exp a version still unwraps.
  [[nodiscard]] bool may_wrap(std::int64_t now_unix_seconds) const noexcept {
    return enabled && (!not_before || *not_before <= now_unix_seconds) && (!expires || now_unix_seconds < *expires);
  }
};

// What a key vault says of itself.
struct KeyVaultProperties {
  std::string provider;  // "local", "pkcs11", …
  std::optional<std::string> region;
  std::optional<bool> soft_delete;
  std::optional<bool> purge_protection;
  std::string location;  // for the "same disk" warning: a path or URL of the machine's configuration; may be empty
};

// A place where KEKs live. Calls may block on a network: no lock of the engine is held across one. Thread-safe.
//
// Errors every provider gives:
//   KeyNotFound, KeyVersionNotFound   the key vault answered and has no such key: a revocation
//   KeyVersionDisabled                authoritative: revocation
//   KeyVaultDenied                    authoritative: the identity may not (revocation)
//   KeyVaultUnavailable               time-out, 5xx, sealed, key vault missing: an outage
//   KeyVersionExpired, KeyVersionNotYetValid   from wrap only
//   AuthenticationFailed              the wrapped bytes do not open under this version
class KeyVault {
 public:
  virtual ~KeyVault() = default;
  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual Result<KeyVaultProperties> properties() = 0;
  // All versions of a key, oldest first.
  [[nodiscard]] virtual Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) = 0;
  // Wraps at most 190 bytes with that version. Read the algorithm from wrap_algorithm().
  [[nodiscard]] virtual Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) = 0;
  [[nodiscard]] virtual Result<SecretBuffer> unwrap(const std::string& key, const std::string& version,
                                                    std::string_view algorithm, ByteView wrapped) = 0;
  // The algorithm that wrap uses for that version, recorded with the wrap: "RSA-OAEP-256".
  [[nodiscard]] virtual Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) = 0;
};

}  // namespace vaultfs
