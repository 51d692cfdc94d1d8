#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vaultfs {

// KEYVAULT/KEY[/VERSION]. With a version the reference is pinned, without one it follows new versions.
struct KeyRef {
  std::string key_vault;
  std::string key;
  std::optional<std::string> version;

  // InvalidKeyRef unless the form is right and both names match [A-Za-z0-9][A-Za-z0-9-]{0,126}; a version is 32 hex
  // digits, kept in lower case.
  [[nodiscard]] static Result<KeyRef> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool pinned() const noexcept { return version.has_value(); }
  bool operator==(const KeyRef&) const = default;
};

// The form of a key vault's and of a key's name: [A-Za-z0-9][A-Za-z0-9-]{0,126}. Such a name is also a safe file name.
[[nodiscard]] bool is_key_name(std::string_view text) noexcept;

// The form of a version's id in a KeyRef: 32 hex digits.
[[nodiscard]] bool is_key_version_id(std::string_view text) noexcept;

// Success, or InvalidName saying which names are allowed. `what` is "key" or "key vault".
[[nodiscard]] Status check_key_name(std::string_view what, std::string_view text);

}  // namespace vaultfs
