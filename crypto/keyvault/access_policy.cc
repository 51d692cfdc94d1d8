#include "crypto/keyvault/access_policy.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace vaultfs {
namespace {

constexpr std::array<KeyPermission, 4> kAll{KeyPermission::get, KeyPermission::list, KeyPermission::wrap_key,
                                            KeyPermission::unwrap_key};

}  // namespace

std::string_view permission_name(KeyPermission permission) noexcept {
  switch (permission) {
    case KeyPermission::get:
      return "get";
    case KeyPermission::list:
      return "list";
    case KeyPermission::wrap_key:
      return "wrapkey";
    case KeyPermission::unwrap_key:
      return "unwrapkey";
  }
  return "unknown";
}

Result<KeyPermissions> KeyPermissions::parse(std::string_view names) {
  KeyPermissions permissions;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    const std::string_view name = names.substr(begin, end - begin);
    const auto* const found =
        std::ranges::find_if(kAll, [name](KeyPermission permission) { return permission_name(permission) == name; });
    if (found == kAll.end()) {
      return Error{ErrorCode::InvalidArgument,
                   "permissions are a comma-separated list of get, list, wrapkey and unwrapkey"};
    }
    permissions.add(*found);
    begin = end + 1;
  }
  return permissions;
}

std::vector<std::string> KeyPermissions::names() const {
  std::vector<std::string> out;
  for (const KeyPermission permission : kAll) {
    if (has(permission)) out.emplace_back(permission_name(permission));
  }
  return out;
}

bool is_identity_id(std::string_view text) noexcept {
  return text.size() == 32 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace vaultfs
