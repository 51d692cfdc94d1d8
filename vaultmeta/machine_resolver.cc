#include "vaultmeta/machine_resolver.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/keyvault/provider_table.h"

namespace vaultfs {
namespace {

constexpr std::size_t kLeastUniqueVersion = 16;

// Keeps the best place seen so far: one where the version is enabled ends the search.
class Search {
 public:
  explicit Search(const std::string& version) : version_(version) {}

  // True if the search is over.
  bool look_at(const std::shared_ptr<KeyVault>& key_vault, const std::string& key) {
    const auto versions = key_vault->list_versions(key);
    if (!versions.ok()) return false;
    for (const KeyVersionInfo& info : *versions) {
      if (info.id != version_) continue;
      if (!best_ || info.enabled) best_ = KeyVaultResolver::Located{key_vault, key};
      return info.enabled;
    }
    return false;
  }
  [[nodiscard]] std::optional<KeyVaultResolver::Located>& best() noexcept { return best_; }

 private:
  const std::string& version_;
  std::optional<KeyVaultResolver::Located> best_;
};

}  // namespace

Result<std::shared_ptr<KeyVault>> MachineResolver::open(const std::string& key_vault, const VaultIdentity& as) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, registry_.find(key_vault));
  if (entry.provider == kLocalProvider) {
    VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<LocalKeyVault> opened, registry_.open_local(key_vault));
    return std::shared_ptr<KeyVault>(std::move(opened));
  }
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<AdministeredKeyVault> opened,
                           registry_.open_external(key_vault, {as.name, {}}));
  return std::shared_ptr<KeyVault>(std::move(opened));
}

Result<KeyVaultResolver::Located> MachineResolver::locate(const std::string& version, const VaultIdentity& as,
                                                          Reach reach) {
  Search search(version);
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyRef> places, registry_.local().find_version(version));
  for (const KeyRef& place : places) {
    const auto opened = open(place.key_vault, as);
    if (opened.ok() && search.look_at(*opened, place.key)) return std::move(*search.best());
  }
  // A short version ("3") is a name only within its key: the same one elsewhere is another key's.
  if (!search.best() && reach == Reach::everywhere && version.size() >= kLeastUniqueVersion) {
    VAULTFS_ASSIGN_OR_RETURN(const auto entries, registry_.list());
    for (const KeyVaultRegistry::Entry& entry : entries) {
      if (entry.problem || entry.provider == kLocalProvider) continue;
      const auto opened = registry_.open_external(entry.name, {as.name, {}});
      if (!opened.ok()) continue;
      const auto keys = (*opened)->list_keys();
      if (!keys.ok()) continue;
      for (const std::string& key : *keys) {
        if (search.look_at(*opened, key)) return std::move(*search.best());
      }
    }
  }
  if (search.best()) return std::move(*search.best());
  return Error{ErrorCode::KeyVersionNotFound, "no key vault of this machine has the key version " + version};
}

}  // namespace vaultfs
