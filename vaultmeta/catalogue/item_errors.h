#pragma once

#include <string>

#include "base/result.h"

namespace vaultfs {

// Nobody has ever written or backed up anything of that name.
[[nodiscard]] inline Error no_such_item(const std::string& item) {
  return {ErrorCode::ItemNotFound, "the vault has no item \"" + item + "\"; see: vaultctl vault show VAULT"};
}

}  // namespace vaultfs
