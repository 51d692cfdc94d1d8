#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread/mutex.h"
#include "crypto/keyvault/local/key_file.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "crypto/keyvault/local/protection_key.h"
#include "crypto/keyvault/local/vault_file.h"
#include "crypto/rsa_key.h"

namespace vaultfs {

// The one implementation of LocalKeyVault, an implementation header of local_key_vault*.cc:
//   local_key_vault   reading, wrapping          _change   new versions, enabling, import and export
//   _deleted          delete, recover, purge     _policy   rotation policies, access policies, protection
// A key vault that is there for as long as its files are: this object holds no state of it but the passphrase.
class DirectoryKeyVault final : public LocalKeyVault {
 public:
  DirectoryKeyVault(Env& env, std::filesystem::path directory, std::string name, PassphraseSource passphrase)
      : env_(env),
        directory_(std::move(directory)),
        name_(std::move(name)),
        protection_(env, directory_, std::move(passphrase)) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<KeyVaultPlace> place() override;
  Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) override;
  Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) override;
  Result<SecretBuffer> unwrap(const std::string& key, const std::string& version, std::string_view algorithm,
                              ByteView wrapped) override;
  Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) override;

  Result<KeyVersionInfo> create_key(const std::string& key, const KeyOptions& options) override;
  Result<KeyVersionInfo> rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) override;
  Status set_enabled(const std::string& key, const std::string& version, bool enabled) override;
  Result<std::vector<std::string>> list_keys() override;
  Result<std::string> export_version(const std::string& key, const std::string* version,
                                     const SecretBuffer& passphrase) override;
  Result<KeyVersionInfo> import_version(const std::string& key, ByteView pem, const SecretBuffer* passphrase,
                                        std::optional<std::int64_t> created) override;
  Status note_export(const std::string& key, const std::vector<std::string>& versions) override;
  Result<std::vector<LocalKeyExport>> exports(const std::string& key) override;
  Status with_lock(const std::function<Status()>& change) override;

  Status delete_key(const std::string& key) override;
  Status recover_key(const std::string& key) override;
  Status purge_key(const std::string& key) override;
  Result<std::vector<DeletedKey>> list_deleted() override;
  Result<LocalKeyVaultOptions> options() override;
  Status enable_protection(bool soft_delete, bool purge_protection) override;
  Status set_region(const std::string& region) override;
  Result<std::optional<RotationPolicy>> rotation_policy(const std::string& key) override;
  Result<std::optional<RotationPolicyText>> describe_rotation_policy(const std::string& key) override;
  Status set_rotation_policy(const std::string& key, const std::optional<RotationPolicy>& policy) override;
  Result<std::optional<KeyVersionInfo>> rotate_if_due(const std::string& key,
                                                      const std::function<Status()>& announce) override;
  Result<std::optional<std::vector<AccessPolicy>>> access() override;
  Status allow(const AccessPolicy& policy, bool enforce) override;
  Status deny(const std::string& identity) override;

 private:
  [[nodiscard]] Result<LocalVaultFile> read_vault() { return read_local_vault_file(env_, directory_, name_); }
  // KeyNotFound also for a deleted key.
  [[nodiscard]] Result<LocalKeyFile> read_key(const std::string& key);
  // The same, but a deleted key that is still kept comes back with its mark.
  [[nodiscard]] Result<LocalKeyFile> read_key_or_deleted(const std::string& key);
  // KeyExists for a key, deleted or not.
  [[nodiscard]] Status check_absent(const std::string& key);
  [[nodiscard]] std::int64_t now() { return env_.clock().now().seconds(); }
  [[nodiscard]] Result<LocalKeyVersion> read_version(const std::string& key, const std::string& version);
  [[nodiscard]] std::string reference(const std::string& key, const std::string& version) const {
    return name_ + "/" + key + "/" + version;
  }
  [[nodiscard]] Error version_not_found(const std::string& key, const std::string& version) const;
  [[nodiscard]] Status check_not_disabled(const std::string& key, const KeyVersionInfo& version) const;
  [[nodiscard]] Status check_may_wrap(const std::string& key, const KeyVersionInfo& version) const;
  [[nodiscard]] Bytes private_key_aad(const std::string& key, const std::string& version) const;
  // A new version of `key`, and the stored form of one: enabled, created now.
  [[nodiscard]] Result<LocalKeyVersion> make_version(const std::string& key, unsigned bits);
  [[nodiscard]] Result<LocalKeyVersion> seal_version(const std::string& key, const RsaKey& pair);
  // Adds a new newest version under the lock, if `wanted` says so of the file as it is then. Nothing otherwise.
  [[nodiscard]] Result<std::optional<KeyVersionInfo>> add_version(
      const std::string& key, LocalKeyVersion version, const std::function<bool(const LocalKeyFile&)>& wanted);
  [[nodiscard]] Status note_future_version(const std::string& key);
  [[nodiscard]] Status remove_key_file(const std::string& key);
  // Under the lock.
  [[nodiscard]] Result<std::vector<std::string>> names_of_key_files();
  void purge_expired();
  [[nodiscard]] Status change_vault(const std::function<Status(LocalVaultFile&)>& edit);
  [[nodiscard]] Result<std::unique_ptr<RsaKey>> open_private(const std::string& key, const LocalKeyVersion& version);

  Env& env_;
  const std::filesystem::path directory_;
  const std::string name_;
  ProtectionKey protection_;
  // Serialises changes by threads of this process, before the file lock serialises those of processes. Taken before
  // ProtectionKey's mutex.
  Mutex change_mutex_;
  std::atomic<std::thread::id> changing_{};  // the thread inside with_lock, which may make changes there
};

}  // namespace vaultfs
