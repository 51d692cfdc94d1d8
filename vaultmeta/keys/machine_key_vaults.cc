#include "vaultmeta/keys/machine_key_vaults.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/keyvault/local/access.h"
#include "crypto/keyvault/provider_table.h"
#include "vaultmeta/keys/rotation_rule.h"

namespace vaultfs {
namespace {

// Keeps the best place seen so far: one where the version is enabled ends the search.
class Search {
 public:
  explicit Search(const std::string& version) : version_(version) {}

  // True if the search is over.
  bool look_at(const std::shared_ptr<AdministeredKeyVault>& key_vault, const std::string& key) {
    const auto versions = key_vault->list_versions(key);
    if (!versions.ok()) {
      note(versions.error());
      return false;
    }
    for (const KeyVersionInfo& info : *versions) {
      if (info.id != version_) continue;
      if (!best_ || info.enabled) best_ = KeyVaultResolver::Located{key_vault, key};
      return info.enabled;
    }
    return false;
  }
  // What keeps the vault from a place that may have the version.
  void note(const Error& error) {
    const bool refusal = error.code == ErrorCode::KeyVaultDenied || error.code == ErrorCode::IdentityNotFound ||
                         error.code == ErrorCode::IdentityDisabled;
    if (refusal && !refused_) refused_ = error;
  }
  [[nodiscard]] bool found() const noexcept { return best_.has_value(); }
  [[nodiscard]] Result<KeyVaultResolver::Located> result() && {
    if (best_) return std::move(*best_);
    if (refused_) return std::move(*refused_);
    return Error{ErrorCode::KeyVersionNotFound, "no key vault of this machine has the key version " + version_};
  }

 private:
  const std::string& version_;
  std::optional<KeyVaultResolver::Located> best_;
  std::optional<Error> refused_;
};

Status check_enabled(const Identity& identity) {
  if (identity.enabled) return ok_status();
  return Error{ErrorCode::IdentityDisabled, identity.description() + " is disabled on this machine; enable it with: " +
                                                "vaultctl identity enable " + identity.id};
}

}  // namespace

Result<std::shared_ptr<AdministeredKeyVault>> MachineKeyVaults::open_local_as(const std::string& name,
                                                                              const VaultIdentity& as) {
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<LocalKeyVault> opened, registry_.open_local(name));
  VAULTFS_ASSIGN_OR_RETURN(const auto policies, opened->access());
  const auto identity = identities_.find(as);
  if (identity.ok()) {
    VAULTFS_RETURN_IF_ERROR(check_enabled(*identity));
    if (policies) return bind_identity(std::move(opened), {identity->id, identity->description()});
  } else if (policies || identity.code() != ErrorCode::IdentityNotFound) {
    return identity.error();
  }
  return std::shared_ptr<AdministeredKeyVault>(std::move(opened));
}

Result<std::shared_ptr<AdministeredKeyVault>> MachineKeyVaults::open_as(const KeyVaultRegistry::Entry& entry,
                                                                        const VaultIdentity& as) {
  if (entry.provider == kLocalProvider) return open_local_as(entry.name, as);
  VAULTFS_ASSIGN_OR_RETURN(const Identity identity, identities_.find(as));
  VAULTFS_RETURN_IF_ERROR(check_enabled(identity));
  return registry_.open_external(entry.name, {identity.name, identity.options});
}

Result<std::shared_ptr<KeyVault>> MachineKeyVaults::open(const std::string& key_vault, const VaultIdentity& as) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, registry_.find(key_vault));
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<AdministeredKeyVault> opened, open_as(entry, as));
  return std::shared_ptr<KeyVault>(std::move(opened));
}

Result<KeyVaultResolver::Located> MachineKeyVaults::locate(const std::string& version, const VaultIdentity& as,
                                                           Reach reach) {
  Search search(version);
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyRef> places, registry_.local().find_version(version));
  for (const KeyRef& place : places) {
    const auto opened = open_local_as(place.key_vault, as);
    if (!opened.ok()) {
      search.note(opened.error());
    } else if (search.look_at(*opened, place.key)) {
      return std::move(search).result();
    }
  }
  // A short version ("3") is a name only within its key: the same one elsewhere is another key's.
  if (search.found() || reach == Reach::machine || !is_unique_version(version)) {
    return std::move(search).result();
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto entries, registry_.list());
  for (const KeyVaultRegistry::Entry& entry : entries) {
    if (entry.problem || entry.provider == kLocalProvider) continue;
    const auto opened = open_as(entry, as);
    if (!opened.ok()) continue;
    const auto keys = (*opened)->list_keys();
    if (!keys.ok()) continue;
    for (const std::string& key : *keys) {
      if (search.look_at(*opened, key)) return std::move(search).result();
    }
  }
  return std::move(search).result();
}

Result<KeyVaultResolver::TakeBack> MachineKeyVaults::introduce(const VaultIdentity& as, const std::string& key_vault) {
  TakeBack take_back = [] {};
  auto own = identities_.create_system(as.vault);
  if (own.ok()) {
    take_back = [this, own = *own] { static_cast<void>(identities_.remove(own)); };
  } else if (own.code() != ErrorCode::AlreadyExists) {  // a vault that is recovered on its own machine has one
    return std::move(own).error();
  }
  const auto authorise = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const Identity identity, identities_.find(as));
    if (key_vault.empty()) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, registry_.find(key_vault));
    if (entry.provider != kLocalProvider) return ok_status();  // its owner lets identities in
    VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<LocalKeyVault> local, registry_.open_local(key_vault));
    VAULTFS_ASSIGN_OR_RETURN(const auto policies, local->access());
    if (!policies) return ok_status();
    // One that is known there keeps what its owner has decided.
    const auto known = [&](const AccessPolicy& policy) { return policy.identity == identity.id; };
    if (std::ranges::any_of(*policies, known)) return ok_status();
    VAULTFS_RETURN_IF_ERROR(local->allow({identity.id, identity.description(), KeyPermissions::backup()}, false));
    take_back = [local, id = identity.id, before = std::move(take_back)] {
      static_cast<void>(local->deny(id));
      before();
    };
    return ok_status();
  };
  const Status authorised = authorise();
  if (authorised.ok()) return take_back;
  take_back();
  return authorised.error();
}

Status MachineKeyVaults::check_identity(const VaultIdentity& as) {
  const auto identity = identities_.find(as);
  if (identity.ok()) return check_enabled(*identity);
  const bool may_miss = as.name == kSystemIdentity && identity.code() == ErrorCode::IdentityNotFound;
  return may_miss ? ok_status() : Status(identity.error());
}

Result<bool> MachineKeyVaults::rotate_if_due(const std::string& key_vault, const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, registry_.find(key_vault));
  if (entry.provider != kLocalProvider) return false;  // others run their policies themselves
  VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<LocalKeyVault> local, registry_.open_local(key_vault));
  const auto announce = [&] {
    return announce_ ? announce_("key.rotate", key_vault + "/" + key + " by its policy") : ok_status();
  };
  VAULTFS_ASSIGN_OR_RETURN(const auto made, local->rotate_if_due(key, announce));
  return made.has_value();
}

Status dismiss_vault(KeyVaultRegistry& registry, IdentityStore& identities, const VaultId& vault) {
  const auto own = identities.find(VaultIdentity{vault, std::string(kSystemIdentity)});
  if (!own.ok()) return own.code() == ErrorCode::IdentityNotFound ? ok_status() : Status(own.error());
  VAULTFS_RETURN_IF_ERROR(identities.remove(*own));
  VAULTFS_ASSIGN_OR_RETURN(const auto names, registry.local().list());
  for (const std::string& name : names) {
    const auto local = registry.open_local(name);
    // A policy for an identity that is gone grants nothing to anybody: what can't be tidied up stays.
    if (local.ok()) static_cast<void>((*local)->deny(own->id));
  }
  return ok_status();
}

}  // namespace vaultfs
