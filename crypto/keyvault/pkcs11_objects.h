#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/pkcs11_session.h"

namespace vaultfs {

// A version of a key as the token holds it, without what this machine knows of it.
struct Pkcs11KeyObject {
  CK_OBJECT_HANDLE handle = 0;  // good in the session that found it
  CK_KEY_TYPE type = 0;         // CKK_RSA, CKK_AES, …
  std::string id;               // CKA_ID in hex; empty if the object has none
  unsigned bits = 0;            // 0 for types other than RSA and AES
  bool may_decrypt = false;     // CKA_DECRYPT
  Bytes modulus;                // of an RSA key; empty if the token does not say
  Bytes exponent;

  [[nodiscard]] bool is_rsa() const noexcept { return type == CKK_RSA; }
  [[nodiscard]] bool is_aes() const noexcept { return type == CKK_AES; }
};

// A version with its dates, as Unix seconds: CKA_START_DATE's first, and CKA_END_DATE's last moment plus one second.
struct Pkcs11DatedKey {
  Pkcs11KeyObject key;
  std::optional<std::int64_t> start;
  std::optional<std::int64_t> end;
};

// The versions of a key; all of them, or those with one CKA_ID if `id` is given. KeyNotFound for a label without any.
[[nodiscard]] Result<std::vector<Pkcs11KeyObject>> pkcs11_find_versions(Pkcs11Session& session,
                                                                        const std::string& label,
                                                                        const std::optional<Bytes>& id);

// Success, or NotSupportedByProvider naming an object without an id, or an id that two have.
[[nodiscard]] Status pkcs11_check_distinct(const std::vector<Pkcs11KeyObject>& versions, const std::string& label);

// Adds its dates to a version. NotSupportedByProvider if it has some that the token does not give out.
[[nodiscard]] Result<Pkcs11DatedKey> pkcs11_add_dates(Pkcs11Session& session, Pkcs11KeyObject key);

// All versions with their dates. NotSupportedByProvider if the ids don't distinguish them, or if a version has dates
// that the token does not give out.
[[nodiscard]] Result<std::vector<Pkcs11DatedKey>> pkcs11_list_versions(Pkcs11Session& session,
                                                                       const std::string& label);

// The labels of all private and secret keys of the token, sorted, each once.
[[nodiscard]] Result<std::vector<std::string>> pkcs11_list_labels(Pkcs11Session& session);

// CK_DATE of the day that begins at or before `unix_seconds` (UTC), and back (nothing if it is no date).
// REQUIRES: a year from 1 to 9999.
[[nodiscard]] CK_DATE pkcs11_date(std::int64_t unix_seconds) noexcept;
[[nodiscard]] std::optional<std::int64_t> pkcs11_date_seconds(ByteView date) noexcept;

inline constexpr std::int64_t kPkcs11DaySeconds = 24 * 60 * 60;

}  // namespace vaultfs
