#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/rsa_key.h"
#include "vaultmeta/machine/key_vault_resolver.h"

namespace vaultfs {

// A key vault in memory with real RSA-2048 keys (a few for the whole process: generating one takes long), whose
// behaviour a test switches. Thread-safe. The switches are the test's: set them while no call runs.
class FakeKeyVault final : public KeyVault {
 public:
  explicit FakeKeyVault(std::string name, const Clock& clock) : name_(std::move(name)), clock_(clock) {}

  // Adds a version as the newest of that key; its id. Each call takes another of the process's RSA keys (8 of them).
  std::string add_version(const std::string& key);
  // The same RSA key and version id as in another key vault: an import.
  void import_version(const std::string& key, const FakeKeyVault& from, const std::string& from_key,
                      const std::string& version);
  // To be changed at will: enabled, nbf, exp, type, bits.
  KeyVersionInfo& info(const std::string& key, const std::string& version);
  void remove_version(const std::string& key, const std::string& version);
  void remove_key(const std::string& key);
  [[nodiscard]] std::shared_ptr<RsaKey> rsa(const std::string& key, const std::string& version) const;

  std::atomic<bool> outage{false};        // every call: KeyVaultUnavailable
  std::atomic<bool> deny{false};          // every call: KeyVaultDenied
  std::atomic<bool> wrap_garbage{false};  // wrap answers with what no key opens
  std::atomic<bool> unwrap_other{false};  // unwrap gives other bytes than were wrapped
  std::atomic<int> fail_after_calls{-1};  // so many more calls succeed, then an outage; -1 = never
  std::atomic<int> wraps{0};
  std::atomic<int> unwraps{0};
  std::function<void()> on_call;  // before each call, without a lock
  KeyVaultProperties answer{"fake", std::nullopt, true, true, ""};

  const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) override;
  Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) override;
  Result<SecretBuffer> unwrap(const std::string& key, const std::string& version, std::string_view algorithm,
                              ByteView wrapped) override;
  Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) override;

 private:
  struct Version {
    KeyVersionInfo info;
    std::shared_ptr<RsaKey> rsa;
  };
  [[nodiscard]] Status begin();
  [[nodiscard]] Result<Version> version_of(const std::string& key, const std::string& version) const;

  const std::string name_;
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards keys_; a leaf
  std::map<std::string, std::vector<Version>> keys_;
};

// Key vaults by name, as the machine's registrations.
class FakeResolver final : public KeyVaultResolver {
 public:
  void add(std::shared_ptr<FakeKeyVault> key_vault) { vaults_[key_vault->name()] = std::move(key_vault); }
  void forget(const std::string& name) { vaults_.erase(name); }
  Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override;
  Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override;
  Status check_identity(const VaultIdentity& as) override;
  // Identities of these names do not exist.
  std::set<std::string> unknown_identities;
  // key of the located place
  std::map<std::string, std::pair<std::string, std::string>> places;  // version → key vault, key

 private:
  std::map<std::string, std::shared_ptr<FakeKeyVault>> vaults_;
};

}  // namespace vaultfs
