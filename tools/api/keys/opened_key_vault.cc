#include "tools/api/keys/opened_key_vault.h"

namespace vaultfs {
namespace {

Error no_key_vault(const std::string& name) {
  return {ErrorCode::KeyVaultNotFound, "this machine has no key vault " + name +
                                           "; make one with: vaultctl keyvault create " + name +
                                           ", or register one with: vaultctl keyvault add " + name};
}

}  // namespace

Result<std::shared_ptr<AdministeredKeyVault>> open_key_vault(Machine& machine, const std::string& name) {
  const auto entry = machine.registry().find(name);
  if (!entry.ok() && entry.code() == ErrorCode::KeyVaultUnavailable) return no_key_vault(name);
  VAULTFS_RETURN_IF_ERROR(entry);
  return machine.registry().open(name);
}

Result<std::shared_ptr<LocalKeyVault>> open_local_key_vault(Machine& machine, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(open_key_vault(machine, name));
  return machine.registry().open_local(name);
}

}  // namespace vaultfs
