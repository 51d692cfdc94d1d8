#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "vaultmeta/machine/identity_store.h"
#include "vaultmeta/machine/key_vault_registry.h"
#include "vaultmeta/machine/key_vault_resolver.h"

namespace vaultfs {

// Resolves to the key vaults that are registered on this machine, local ones and others, as the vault's identity.
// `registry` and `identities` must outlive it. Thread-safe.
//
// A local key vault that has access policies is bound by them; one that is older than policies asks for no identity,
// but one that is disabled is refused there too. Every other key vault wants the identity to exist.
class MachineKeyVaults final : public KeyVaultResolver {
 public:
  // `announce` writes down, before it is done, what this does to a key by itself; its error leaves it undone.
  using Announce = std::function<Status(const std::string& what, const std::string& detail)>;
  MachineKeyVaults(KeyVaultRegistry& registry, IdentityStore& identities, Announce announce = {})
      : registry_(registry), identities_(identities), announce_(std::move(announce)) {}

  [[nodiscard]] Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override;
  // Of several places the first where the version is enabled, else the first. Local key vaults come first; the others
  // cost calls over a network and are asked only if none of those has the version. If only a refusal keeps it from the
  // vault, that is the error.
  [[nodiscard]] Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override;
  [[nodiscard]] Result<TakeBack> introduce(const VaultIdentity& as, const std::string& key_vault) override;
  // A vault's own identity may be missing: an older vaultfs made none.
  [[nodiscard]] Status check_identity(const VaultIdentity& as) override;
  [[nodiscard]] Result<bool> rotate_if_due(const std::string& key_vault, const std::string& key) override;

 private:
  [[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> open_as(const KeyVaultRegistry::Entry& entry,
                                                                      const VaultIdentity& as);
  [[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> open_local_as(const std::string& name,
                                                                            const VaultIdentity& as);

  KeyVaultRegistry& registry_;
  IdentityStore& identities_;
  const Announce announce_;
};

// The end of a vault on this machine: its system-assigned identity goes, and what local key vaults grant it.
[[nodiscard]] Status dismiss_vault(KeyVaultRegistry& registry, IdentityStore& identities, const VaultId& vault);

}  // namespace vaultfs
