#pragma once

#include <memory>
#include <string>

#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/local/local_key_vault.h"

namespace vaultfs {

// Who asks, as a local key vault knows it.
struct AccessIdentity {
  std::string id;           // 32 hex digits
  std::string description;  // for messages: "the identity of the vault /backup/vault"
};

// A local key vault as that identity sees it. Each call reads the policies anew: list_versions and list_keys want
// `list`, wrap_algorithm wants `get`, wrap and unwrap want `wrapkey` and `unwrapkey`; KeyVaultDenied names what is
// missing and the command that grants it. properties() is open to all. It administers nothing. Thread-safe.
[[nodiscard]] std::shared_ptr<AdministeredKeyVault> bind_identity(std::shared_ptr<LocalKeyVault> key_vault,
                                                                  AccessIdentity identity);

}  // namespace vaultfs
