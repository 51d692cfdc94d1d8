#include "vaultmeta/machine/key_vault_comparison.h"

#include <algorithm>

namespace vaultfs {
const std::optional<KeyVaultComparison::Known>& KeyVaultComparison::known(const std::string& name) {
  const auto at = known_.find(name);
  if (at != known_.end()) return at->second;
  std::optional<Known>& one = known_[name];
  const auto entry = registry_.find(name);
  if (!entry.ok()) return one;
  one.emplace();
  one->provider = entry->provider;
  auto opened = registry_.open(name);
  if (!opened.ok()) return one;
  one->key_vault = std::move(opened).value();
  auto place = one->key_vault->place();
  if (place.ok()) one->place = std::move(place).value();
  return one;
}

Sameness KeyVaultComparison::with(const std::string& other) {
  if (other == name_) return Sameness::same;
  const auto at = compared_.find(other);
  if (at != compared_.end()) return at->second;
  return compared_[other] = compare(other);
}

Sameness KeyVaultComparison::compare(const std::string& other) {
  const std::optional<Known>& mine = known(name_);
  if (!mine || other.empty()) return Sameness::different;
  const std::optional<Known>& its = known(other);
  if (!its) return Sameness::unknown;
  if (mine->provider != its->provider) return Sameness::different;
  if (!mine->place || !its->place) return Sameness::unknown;
  if (mine->place->text == its->place->text) return Sameness::same;
  return mine->place->is_the_only_one && its->place->is_the_only_one ? Sameness::different : Sameness::unknown;
}

Sameness KeyVaultComparison::same_key(const std::string& key, const std::string& other, const std::string& other_key) {
  return key == other_key ? with(other) : Sameness::different;
}

Sameness KeyVaultComparison::same_version(const std::string& key, const std::string& other,
                                          const std::string& other_key, const std::string& version) {
  const Sameness together = with(other);
  if (together == Sameness::different) return together;
  const std::optional<Known>& mine = known(name_);
  const bool by_version = mine && mine->key_vault && mine->key_vault->versions_name_keys();
  if (key != other_key && !by_version) return Sameness::different;
  if (together == Sameness::same) return together;
  // Two addresses that may be one server's. It would say the same at both.
  const std::optional<Known>& its = known(other);
  if (!mine->place || !its || !its->place) return Sameness::unknown;
  const auto one = find_in(name_, key, version);
  const auto another = find_in(other, other_key, version);
  if (!one || !another) return Sameness::unknown;
  const bool differ = one->created_unix_seconds != another->created_unix_seconds ||
                      one->key_type != another->key_type || one->bits != another->bits;
  return differ ? Sameness::different : Sameness::unknown;
}

std::optional<KeyVersionInfo> KeyVaultComparison::find_in(const std::string& key_vault, const std::string& key,
                                                          const std::string& version) {
  const auto name = std::pair(key_vault, key);
  if (!listed_.contains(name)) {
    auto versions = known(key_vault)->key_vault->list_versions(key);
    listed_[name] = versions.ok() ? std::move(versions).value() : std::vector<KeyVersionInfo>();
  }
  const auto found = std::ranges::find(listed_[name], version, &KeyVersionInfo::id);
  return found == listed_[name].end() ? std::nullopt : std::optional(*found);
}

}  // namespace vaultfs
