#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vaultfs {

// What an identity may do in a local key vault.
enum class KeyPermission : std::uint8_t { get = 1, list = 2, wrap_key = 4, unwrap_key = 8 };

// "get", "list", "wrapkey", "unwrapkey".
[[nodiscard]] std::string_view permission_name(KeyPermission permission) noexcept;

// A set of permissions.
class KeyPermissions {
 public:
  constexpr KeyPermissions() = default;
  // The template "backup": just what a vault needs.
  [[nodiscard]] static constexpr KeyPermissions backup() noexcept { return KeyPermissions(15); }
  // A comma-separated list of names; InvalidArgument naming the known ones, or if it is empty.
  [[nodiscard]] static Result<KeyPermissions> parse(std::string_view names);

  [[nodiscard]] constexpr bool has(KeyPermission permission) const noexcept {
    return (bits_ & static_cast<std::uint8_t>(permission)) != 0;
  }
  constexpr void add(KeyPermission permission) noexcept {
    bits_ = static_cast<std::uint8_t>(bits_ | static_cast<std::uint8_t>(permission));
  }
  [[nodiscard]] constexpr KeyPermissions operator|(KeyPermissions other) const noexcept {
    return KeyPermissions(static_cast<std::uint8_t>(bits_ | other.bits_));
  }
  // In the order of the enumeration.
  [[nodiscard]] std::vector<std::string> names() const;
  bool operator==(const KeyPermissions&) const = default;

 private:
  explicit constexpr KeyPermissions(std::uint8_t bits) noexcept : bits_(bits) {}
  std::uint8_t bits_ = 0;
};

// 32 hex digits in lower case, as the id of an identity.
[[nodiscard]] bool is_identity_id(std::string_view text) noexcept;

// What one identity may do. Identities are told apart by their random id: one that was made again under the same name
// is another.
struct AccessPolicy {
  std::string identity;  // 32 hex digits
  std::string label;     // of the identity when it was let in; for people
  KeyPermissions permissions;
  bool operator==(const AccessPolicy&) const = default;
};

}  // namespace vaultfs
