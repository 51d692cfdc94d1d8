#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "vaultmeta/machine/key_vault_registry.h"

namespace vaultfs {

// Whether two names of this machine stand for one thing. What can't be told apart counts as one wherever a key is to be
// taken away.
enum class Sameness : std::uint8_t { different, unknown, same };

// One key vault of this machine against its others: the same one may be registered under several names. Asks tokens,
// and for what addresses leave open the key vaults themselves, each once. Not thread-safe; `registry` outlives it.
class KeyVaultComparison {
 public:
  KeyVaultComparison(KeyVaultRegistry& registry, std::string name) : registry_(registry), name_(std::move(name)) {}

  // By the provider and its address (AdministeredKeyVault::place): two addresses may lead to one server, and one that
  // is not registered here, or can't be asked, may be anything. Different from all if `name` is no key vault of this
  // machine, which then is nobody's.
  [[nodiscard]] Sameness with(const std::string& other);
  // Whether that version of that key of `other` is `version` of `key` here. A version that is named by itself
  // (is_unique_version) is the caller's business: it is the same wherever it is.
  [[nodiscard]] Sameness same_version(const std::string& key, const std::string& other, const std::string& other_key,
                                      const std::string& version);
  // Whether the keys have the same name in the same key vault.
  [[nodiscard]] Sameness same_key(const std::string& key, const std::string& other, const std::string& other_key);

 private:
  struct Known {
    std::string provider;
    std::shared_ptr<AdministeredKeyVault> key_vault;  // null: it can't be opened
    std::optional<KeyVaultPlace> place;
  };
  [[nodiscard]] const std::optional<Known>& known(const std::string& name);
  [[nodiscard]] Sameness compare(const std::string& other);
  // Nothing if the key vault does not say.
  [[nodiscard]] std::optional<KeyVersionInfo> find_in(const std::string& key_vault, const std::string& key,
                                                      const std::string& version);

  KeyVaultRegistry& registry_;
  const std::string name_;
  std::map<std::string, std::optional<Known>> known_;
  std::map<std::string, Sameness> compared_;
  std::map<std::pair<std::string, std::string>, std::vector<KeyVersionInfo>> listed_;  // by key vault and key
};

}  // namespace vaultfs
