#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "tools/machine.h"

namespace vaultfs {

// The key vault of that name as its administrator sees it. KeyVaultNotFound if this machine has none.
[[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> open_key_vault(Machine& machine, const std::string& name);
// NotSupportedByProvider if it is no local one.
[[nodiscard]] Result<std::shared_ptr<LocalKeyVault>> open_local_key_vault(Machine& machine, const std::string& name);

}  // namespace vaultfs
