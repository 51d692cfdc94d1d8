#include "vaultmeta/local_resolver.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace vaultfs {

Result<std::shared_ptr<KeyVault>> LocalResolver::open(const std::string& key_vault) {
  // Also where it is open already: this tells that it is still there.
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<KeyVault> opened, vaults_.open(key_vault));
  const std::lock_guard lock(mutex_);
  return opened_.emplace(key_vault, std::move(opened)).first->second;
}

Result<KeyVaultResolver::Located> LocalResolver::locate(const std::string& version) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyRef> places, vaults_.find_version(version));
  std::optional<Located> first;
  for (const KeyRef& place : places) {
    auto opened = open(place.key_vault);
    if (!opened.ok()) continue;
    Located located{std::move(opened).value(), place.key};
    const auto versions = located.key_vault->list_versions(located.key);
    if (!versions.ok()) continue;
    const bool enabled = std::any_of(versions->begin(), versions->end(),
                                     [&](const KeyVersionInfo& info) { return info.id == version && info.enabled; });
    if (enabled) return located;
    if (!first) first = std::move(located);
  }
  if (first) return std::move(*first);
  return Error{ErrorCode::KeyVersionNotFound, "no key vault of this machine has the key version " + version};
}

}  // namespace vaultfs
