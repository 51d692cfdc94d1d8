#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/pkcs11/session.h"

namespace vaultfs {

// Why an object can be no KEK, whatever its type. It is listed all the same, and opens what it has once wrapped.
enum class Pkcs11Flaw : std::uint8_t {
  none,
  is_public,       // CKA_PRIVATE is false on a token that wants a login: anybody who reaches the token can have made it
  shares_its_id,   // with another object of the label
  dates_withheld,  // it has a start or end date that the token does not give out
};

// A version of a key as the token holds it, without what this machine knows of it.
struct Pkcs11KeyObject {
  CK_OBJECT_HANDLE handle = 0;  // good in the session that found it
  CK_KEY_TYPE type = 0;         // CKK_RSA, CKK_AES, …
  std::string id;               // CKA_ID in hex; empty if the object has none
  unsigned bits = 0;            // 0 for types other than RSA and AES
  bool may_decrypt = false;     // CKA_DECRYPT
  Pkcs11Flaw flaw = Pkcs11Flaw::none;
  Bytes modulus;  // of an RSA key; empty if the token does not say
  Bytes exponent;

  [[nodiscard]] bool is_rsa() const noexcept { return type == CKK_RSA; }
  [[nodiscard]] bool is_aes() const noexcept { return type == CKK_AES; }
};

// A version with its dates, as Unix seconds: CKA_START_DATE's first, and CKA_END_DATE's last moment plus one second.
struct Pkcs11DatedKey {
  Pkcs11KeyObject key;
  std::optional<std::int64_t> start;
  std::optional<std::int64_t> end;
  bool of_certificate = false;  // as pkcs11_list_versions finds it
};

// The longest CKA_ID of a version. An object with a longer one is no version, like one without any: no reference can
// name it.
inline constexpr std::size_t kPkcs11IdLimitBytes = 64;

// The objects of a key that can be referred to; all of them, or those with one CKA_ID if `id` is given. A public object
// counts for nothing beside a private one of its id. KeyNotFound for a label without any; NotSupportedByProvider if the
// owner's keys of that label all lack an id.
[[nodiscard]] Result<std::vector<Pkcs11KeyObject>> pkcs11_find_versions(Pkcs11Session& session,
                                                                        const std::string& label,
                                                                        const std::optional<Bytes>& id);

// Success, or NotSupportedByProvider naming an id that two have.
[[nodiscard]] Status pkcs11_check_distinct(const std::vector<Pkcs11KeyObject>& versions, const std::string& label);

// NotSupportedByProvider for a version with a flaw, saying which and what to do.
[[nodiscard]] Status pkcs11_check_flawless(const Pkcs11KeyObject& key);

// Adds its dates to a version, or the flaw that they are withheld.
[[nodiscard]] Result<Pkcs11DatedKey> pkcs11_add_dates(Pkcs11Session& session, Pkcs11KeyObject key);

// All versions with their dates and whether there is a certificate of them, each id once: the flaws of one are no
// reason to hide the others.
[[nodiscard]] Result<std::vector<Pkcs11DatedKey>> pkcs11_list_versions(Pkcs11Session& session,
                                                                       const std::string& label);

// The labels of all private and secret keys of the token, sorted, each once.
[[nodiscard]] Result<std::vector<std::string>> pkcs11_list_labels(Pkcs11Session& session);

// CK_DATE of the day that begins at or before `unix_seconds` (UTC), and back (nothing if it is no date).
// REQUIRES: a year from 1 to 9999.
[[nodiscard]] CK_DATE pkcs11_date(std::int64_t unix_seconds) noexcept;
[[nodiscard]] std::optional<std::int64_t> pkcs11_date_seconds(ByteView date) noexcept;

inline constexpr std::int64_t kPkcs11DaySeconds = std::int64_t{24} * 60 * 60;

}  // namespace vaultfs
