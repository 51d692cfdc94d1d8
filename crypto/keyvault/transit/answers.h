#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/memory/locked_text.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The answers of a Transit secrets engine, as pure functions of foreign bytes. What is not as documented is
// KeyVaultUnavailable: an answer that can't be understood decides nothing.

// Of GET keys/NAME.
struct TransitKey {
  std::string type;  // "aes256-gcm96", "rsa-2048", …
  bool derived = false;
  std::int64_t latest_version = 0;
  std::int64_t min_available_version = 0;        // 0: none was ever trimmed
  std::int64_t min_decryption_version = 1;       // the floor: what is below is disabled, and left out of `created`
  std::int64_t min_encryption_version = 0;       // 0: no floor
  std::map<std::int64_t, std::int64_t> created;  // version → Unix seconds

  // The oldest version that still exists.
  [[nodiscard]] std::int64_t oldest_version() const noexcept;
  [[nodiscard]] bool exists(std::int64_t version) const noexcept {
    return version >= oldest_version() && version <= latest_version;
  }
  [[nodiscard]] bool is_enabled(std::int64_t version) const noexcept { return version >= min_decryption_version; }
  // All versions, oldest first. The engine does not say when versions below the floor were made; they are given the
  // time of the oldest that it tells of.
  [[nodiscard]] std::vector<KeyVersionInfo> versions() const;
};

// The number of versions of one key that are listed at most; an answer with more is refused.
inline constexpr std::int64_t kTransitVersionLimit = 10'000;

[[nodiscard]] Result<TransitKey> parse_transit_key(std::string_view body);
// Of LIST keys: sorted.
[[nodiscard]] Result<std::vector<std::string>> parse_transit_key_names(std::string_view body);
// Of encrypt: the ciphertext, checked to be vault:vVERSION:BASE64 of that version.
[[nodiscard]] Result<std::string> parse_transit_ciphertext(std::string_view body, std::int64_t version);
// Of decrypt.
[[nodiscard]] Result<SecretBuffer> parse_transit_plaintext(std::string_view body);

// Of auth/approle/login.
struct TransitLogin {
  SecretBuffer token;
  std::int64_t lease_seconds = 0;  // 0: it does not expire
};
[[nodiscard]] Result<TransitLogin> parse_transit_login(std::string_view body);

// The texts of {"errors":[…]}; nothing if the answer is not of that form.
[[nodiscard]] std::optional<std::vector<std::string>> parse_transit_errors(std::string_view body);

// A version's number from its id: decimal, 1 to 9 digits, no leading zero.
[[nodiscard]] std::optional<std::int64_t> transit_version(std::string_view id) noexcept;

// The version that a stored ciphertext names; nothing unless it is canonical (vault:vN:, strict base64), since the
// engine itself takes several texts for the same bytes.
[[nodiscard]] std::optional<std::int64_t> transit_ciphertext_version(std::string_view ciphertext);

}  // namespace vaultfs
