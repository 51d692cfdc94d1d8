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

  // InvalidKeyRef unless the form is right and both names match [A-Za-z0-9][A-Za-z0-9-]{0,126}; a version is 32 hex digits.
  [[nodiscard]] static Result<KeyRef> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool pinned() const noexcept { return version.has_value(); }
  bool operator==(const KeyRef&) const = default;
};

}  // namespace vaultfs
