#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/azure/answers.h"
#include "crypto/keyvault/azure/connection.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {

// The keys of an Azure Key Vault, read: one version, all versions of a key, all names. Thread-safe.
class AzureKeys {
 public:
  AzureKeys(AzureConnection& connection, std::string key_vault)
      : connection_(connection), key_vault_(std::move(key_vault)) {}

  // KeyNotFound, or KeyVersionNotFound if the key has other versions; InvalidName.
  [[nodiscard]] Result<AzureKey> version(HttpCall& call, const std::string& key, const std::string& version);
  // The newest version. KeyNotFound.
  [[nodiscard]] Result<AzureKey> newest(HttpCall& call, const std::string& key);
  // All, oldest first. KeyNotFound: the service lists no versions of a key that it does not have.
  [[nodiscard]] Result<std::vector<KeyVersionInfo>> versions(HttpCall& call, const std::string& key);
  // Sorted, without those of certificates.
  [[nodiscard]] Result<std::vector<std::string>> names(HttpCall& call);
  // Of any key; nothing if there is none.
  [[nodiscard]] Result<std::optional<AzureAttributes>> attributes_of_any(HttpCall& call);

  [[nodiscard]] static KeyVersionInfo info_of(const AzureKey& key);

 private:
  struct Kind {
    std::string type;
    unsigned bits = 0;
  };

  [[nodiscard]] Result<std::vector<AzurePage::Item>> list(HttpCall& call, HttpRequest request);
  [[nodiscard]] Result<AzureKey> read(HttpCall& call, const std::string& key, std::string_view version);
  [[nodiscard]] Result<Kind> kind_of(HttpCall& call, const AzureKeyId& id);
  [[nodiscard]] Status put_newest_last(HttpCall& call, const std::string& key, std::vector<KeyVersionInfo>& versions);
  [[nodiscard]] Error key_not_found(const std::string& key) const;

  AzureConnection& connection_;
  const std::string key_vault_;
  Mutex mutex_;  // A leaf in the lock order.
  // NAME/VERSION → what never changes of a version and is left out of lists.
  std::map<std::string, Kind> kinds_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
