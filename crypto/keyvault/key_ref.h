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

  // InvalidKeyRef unless the form is right and both names match [A-Za-z0-9][A-Za-z0-9-]{0,126}. A version is what its
  // provider calls it ("3" of a Transit engine, the 32 hex digits of an Azure key vault, kept in lower case):
  // is_pinnable_version.
  [[nodiscard]] static Result<KeyRef> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool pinned() const noexcept { return version.has_value(); }
  bool operator==(const KeyRef&) const = default;
};

// The form of a key vault's and of a key's name: [A-Za-z0-9][A-Za-z0-9-]{0,126}. Such a name is also a safe file name.
[[nodiscard]] bool is_key_name(std::string_view text) noexcept;

// The form of a version in a KeyRef: [A-Za-z0-9][A-Za-z0-9._-]{0,126}.
[[nodiscard]] bool is_pinnable_version(std::string_view text) noexcept;

// The form of a version's id in local and Azure key vaults: 32 hex digits.
[[nodiscard]] bool is_key_version_id(std::string_view text) noexcept;

// Success, or InvalidName saying which names are allowed. `what` is "key" or "key vault".
[[nodiscard]] Status check_key_name(std::string_view what, std::string_view text);

}  // namespace vaultfs
