#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "crypto/keyvault/key_vault.h"
#include "vaultmeta/machine/key_vault_resolver.h"

namespace vaultfs::sim {

// A key vault in memory with one key, "kek". Its versions wrap by a hash in place of RSA, which would be most of a
// history's time: what is wrapped opens under its version only, and a changed byte does not open. Thread-safe.
class CheapKeyVault final : public KeyVault {
 public:
  CheapKeyVault(const Clock& clock, std::uint64_t seed) : clock_(clock), seed_(seed) {}

  // A new version, the newest; its id.
  std::string add_version();
  void set_enabled(const std::string& version, bool enabled);
  [[nodiscard]] bool enabled(const std::string& version) const;
  [[nodiscard]] std::vector<std::string> versions() const;  // oldest first
  [[nodiscard]] std::string newest() const;

  void set_outage(bool outage);
  void set_deny(bool deny);
  // So many more calls succeed, then an outage.
  void set_late(std::uint64_t calls);
  // No outage, nothing denied.
  void answer_again();
  // It answers everything.
  [[nodiscard]] bool answers() const;
  // Calls that were answered by an error of an outage, a refusal or a disabled version.
  [[nodiscard]] std::uint64_t refused_calls() const;

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
    Bytes secret;
  };
  [[nodiscard]] Status begin();  // REQUIRES: mutex_
  [[nodiscard]] Result<const Version*> find(const std::string& key, const std::string& version) const;  // the same

  const std::string name_ = "kv";
  const Clock& clock_;
  const std::uint64_t seed_;
  mutable std::mutex mutex_;  // guards all below; a leaf
  std::vector<Version> versions_;
  std::uint64_t wraps_ = 0;
  bool outage_ = false;
  bool deny_ = false;
  std::int64_t calls_left_ = -1;  // -1: no limit
  std::uint64_t refused_ = 0;
};

// The machine's one key vault.
class CheapResolver final : public KeyVaultResolver {
 public:
  explicit CheapResolver(std::shared_ptr<CheapKeyVault> key_vault) : key_vault_(std::move(key_vault)) {}
  Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override;
  Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override;

 private:
  const std::shared_ptr<CheapKeyVault> key_vault_;
};

}  // namespace vaultfs::sim
