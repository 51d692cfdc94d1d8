#include "crypto/keyvault/local_key_vault.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "crypto/committed_key.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local_key_file.h"
#include "crypto/keyvault/local_vault_file.h"
#include "crypto/keyvault/private_file.h"
#include "crypto/keyvault/protection_key.h"
#include "crypto/rsa_key.h"

namespace vaultfs {
namespace {

constexpr std::string_view kAlgorithm = "RSA-OAEP-256";
constexpr std::string_view kPrivateKeyLabel = "vaultfs/1 local-key-vault private key";
// What RSA-OAEP-256 holds under 2048 bits (RFC 8017 section 7.1.1): the same for every size, so that a rotation to
// another size never makes a wrap impossible.
constexpr std::size_t kWrapLimitBytes = 190;
constexpr std::string_view kKeyFileSuffix = ".json";

Status check_validity_period(const KeyOptions& options) {
  if (options.not_before && options.expires && *options.expires <= *options.not_before) {
    return Error{ErrorCode::InvalidArgument, "the version would expire before it becomes valid; give an exp after nbf"};
  }
  return ok_status();
}

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
  Status with_lock(const std::function<Status()>& change) override;

 private:
  [[nodiscard]] Result<LocalVaultFile> read_vault() { return read_local_vault_file(env_, directory_, name_); }
  [[nodiscard]] Result<LocalKeyFile> read_key(const std::string& key);
  [[nodiscard]] Result<LocalKeyVersion> read_version(const std::string& key, const std::string& version);
  [[nodiscard]] std::string reference(const std::string& key, const std::string& version) const {
    return name_ + "/" + key + "/" + version;
  }
  [[nodiscard]] Error version_not_found(const std::string& key, const std::string& version) const;
  [[nodiscard]] Status check_not_disabled(const std::string& key, const KeyVersionInfo& version) const;
  [[nodiscard]] Status check_may_wrap(const std::string& key, const KeyVersionInfo& version) const;
  [[nodiscard]] Bytes private_key_aad(const std::string& key, const std::string& version) const;
  // The stored form of a version of `key`, enabled, created now.
  [[nodiscard]] Result<LocalKeyVersion> seal_version(const std::string& key, const RsaKey& pair);
  [[nodiscard]] Result<std::unique_ptr<RsaKey>> open_private(const std::string& key, const LocalKeyVersion& version);

  Env& env_;
  const std::filesystem::path directory_;
  const std::string name_;
  ProtectionKey protection_;
  // Serialises changes by threads of this process, before the file lock serialises those of processes; recursive, so
  // that changes can be made inside with_lock. Taken before ProtectionKey's mutex. Guards the two fields below.
  std::recursive_mutex change_mutex_;
  unsigned change_depth_ = 0;
  std::unique_ptr<FileLock> change_lock_;
};

// --- reading ---

Result<LocalKeyFile> DirectoryKeyVault::read_key(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  // The key vault first: a key is missing only if the key vault that should hold it is there.
  VAULTFS_RETURN_IF_ERROR(read_vault());
  return read_local_key_file(env_, directory_, name_, key);
}

Error DirectoryKeyVault::version_not_found(const std::string& key, const std::string& version) const {
  const std::string shown = is_key_version_id(version) ? version : "of that id";
  return Error{ErrorCode::KeyVersionNotFound, "key " + name_ + "/" + key + " has no version " + shown +
                                                  "; see which it has with: vaultctl key list " + name_ + "/" + key};
}

Result<LocalKeyVersion> DirectoryKeyVault::read_version(const std::string& key, const std::string& version) {
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
  LocalKeyVersion* found = file.find(version);
  if (found == nullptr) return version_not_found(key, version);
  return std::move(*found);
}

Status DirectoryKeyVault::check_not_disabled(const std::string& key, const KeyVersionInfo& version) const {
  if (version.enabled) return ok_status();
  return Error{ErrorCode::KeyVersionDisabled, "key version " + version.id + " of " + name_ + "/" + key +
                                                  " is disabled; enable it with: vaultctl key enable " +
                                                  reference(key, version.id)};
}

Status DirectoryKeyVault::check_may_wrap(const std::string& key, const KeyVersionInfo& version) const {
  VAULTFS_RETURN_IF_ERROR(check_not_disabled(key, version));
  const std::int64_t now = env_.clock().now().seconds();
  if (version.may_wrap(now)) return ok_status();
  const std::string what = "key version " + version.id + " of " + name_ + "/" + key;
  if (version.expires && *version.expires <= now) {
    return Error{ErrorCode::KeyVersionExpired,
                 what + " has expired: it unwraps, but wraps no more; make a new one with: vaultctl key rotate " +
                     name_ + "/" + key};
  }
  return Error{
      ErrorCode::KeyVersionNotYetValid,
      what + " is not yet valid: it wraps nothing before its nbf; wait, check the clock, or use another version"};
}

Result<KeyVaultProperties> DirectoryKeyVault::properties() {
  VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
  KeyVaultProperties properties;
  properties.provider = "local";
  if (!vault.options.region.empty()) properties.region = vault.options.region;
  properties.soft_delete = vault.options.soft_delete;
  properties.purge_protection = vault.options.purge_protection;
  properties.location = directory_.string();
  return properties;
}

Result<std::vector<KeyVersionInfo>> DirectoryKeyVault::list_versions(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile file, read_key(key));
  std::vector<KeyVersionInfo> versions;
  for (const LocalKeyVersion* version : file.oldest_first()) versions.push_back(version->info);
  return versions;
}

Result<std::vector<std::string>> DirectoryKeyVault::list_keys() {
  VAULTFS_RETURN_IF_ERROR(read_vault());
  auto names = env_.list(local_keys_directory(directory_));
  if (!names.ok()) {
    if (names.code() != ErrorCode::NotFound) return names;
    return Error{ErrorCode::DamagedMachineState,
                 local_keys_directory(directory_).string() + " is missing; put back a copy of the key vault " + name_};
  }
  std::vector<std::string> keys;
  for (std::string& name : *names) {
    if (!name.ends_with(kKeyFileSuffix)) continue;  // a file that was being written
    name.resize(name.size() - kKeyFileSuffix.size());
    if (is_key_name(name)) keys.push_back(std::move(name));
  }
  // Env sorts by file name, where the suffix counts: "a-b.json" comes before "a.json".
  std::ranges::sort(keys);
  return keys;
}

// --- wrapping ---

Result<std::string> DirectoryKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(read_version(key, version));
  return std::string(kAlgorithm);
}

Result<Bytes> DirectoryKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  if (plaintext.size() > kWrapLimitBytes) {
    return Error{ErrorCode::InvalidArgument, "a wrap holds at most " + std::to_string(kWrapLimitBytes) +
                                                 " bytes, not " + std::to_string(plaintext.size())};
  }
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyVersion stored, read_version(key, version));
  VAULTFS_RETURN_IF_ERROR(check_may_wrap(key, stored.info));
  const auto public_key = RsaKey::from_public_der(stored.public_der);
  if (!public_key.ok()) {
    return Error{ErrorCode::DamagedMachineState,
                 local_key_file_path(directory_, key).string() + " is damaged: the public key of version " + version +
                     " is none (" + public_key.error().message + "); put back a copy of it"};
  }
  return (*public_key)->encrypt(plaintext);
}

Bytes DirectoryKeyVault::private_key_aad(const std::string& key, const std::string& version) const {
  std::string aad = name_;
  aad += '\0';
  aad += key;
  aad += '\0';
  aad += version;
  return to_bytes(bytes_of(aad));
}

Result<std::unique_ptr<RsaKey>> DirectoryKeyVault::open_private(const std::string& key,
                                                                const LocalKeyVersion& version) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer protection, protection_.get(vault));
  // Whatever keeps a stored private key from opening must not look like a wrap that does not open.
  const auto damaged = [&](const std::string& why) {
    return Error{ErrorCode::DamagedMachineState,
                 "the private key of version " + version.info.id + " in " +
                     local_key_file_path(directory_, key).string() + " does not open (" + why +
                     "): the file is damaged or its key vault's protection key was replaced; put back copies"};
  };
  const auto der =
      open_box(protection, kPrivateKeyLabel, private_key_aad(key, version.info.id), version.sealed_private);
  if (!der.ok()) return der.code() == ErrorCode::MemoryLockFailed ? der.error() : damaged(der.error().message);
  auto pair = RsaKey::from_private_der(der->view());
  if (!pair.ok()) return pair.code() == ErrorCode::MemoryLockFailed ? pair.error() : damaged(pair.error().message);
  VAULTFS_ASSIGN_OR_RETURN(const Bytes public_der, (*pair)->public_der());
  if (!bytes_equal(public_der, version.public_der)) return damaged("it is not the half of its public key");
  return pair;
}

Result<SecretBuffer> DirectoryKeyVault::unwrap(const std::string& key, const std::string& version,
                                               std::string_view algorithm, ByteView wrapped) {
  if (algorithm != kAlgorithm) {
    return Error{ErrorCode::NotSupportedByProvider, "a local key vault unwraps " + std::string(kAlgorithm) +
                                                        " only; this was wrapped by another key vault"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyVersion stored, read_version(key, version));
  VAULTFS_RETURN_IF_ERROR(check_not_disabled(key, stored.info));
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, open_private(key, stored));
  return pair->decrypt(wrapped);
}

// --- changes ---

Status DirectoryKeyVault::with_lock(const std::function<Status()>& change) {
  const std::lock_guard guard(change_mutex_);
  if (change_depth_ == 0) {
    VAULTFS_RETURN_IF_ERROR(read_vault());  // never makes a lock file where no key vault is
    VAULTFS_ASSIGN_OR_RETURN(change_lock_, wait_for_lock(env_, directory_ / "lock"));
  }
  ++change_depth_;
  Status status = change();
  if (--change_depth_ == 0) change_lock_.reset();
  return status;
}

Result<LocalKeyVersion> DirectoryKeyVault::seal_version(const std::string& key, const RsaKey& pair) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer protection, protection_.get(vault));
  LocalKeyVersion version;
  VAULTFS_ASSIGN_OR_RETURN(version.public_der, pair.public_der());
  version.info.id = local_version_id(version.public_der);
  version.info.created_unix_seconds = env_.clock().now().seconds();
  version.info.key_type = "RSA";
  version.info.bits = pair.bits();
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer der, pair.private_der());
  VAULTFS_ASSIGN_OR_RETURN(version.sealed_private,
                           seal_box(protection, kPrivateKeyLabel, private_key_aad(key, version.info.id), der.view()));
  return version;
}

Result<KeyVersionInfo> DirectoryKeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_validity_period(options));
  const auto check_absent = [&]() -> Status {
    const auto file = read_key(key);
    if (!file.ok()) return file.code() == ErrorCode::KeyNotFound ? ok_status() : Status(file.error());
    return Error{ErrorCode::KeyExists, "key " + name_ + "/" + key +
                                           " exists already; for a new version of it: vaultctl key rotate " + name_ +
                                           "/" + key};
  };
  // Generating takes up to seconds, so the lock is taken afterwards and the check repeated under it.
  VAULTFS_RETURN_IF_ERROR(check_absent());
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, RsaKey::generate(options.bits));
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, seal_version(key, *pair));
  version.info.not_before = options.not_before;
  version.info.expires = options.expires;
  const KeyVersionInfo info = version.info;
  const Status stored = with_lock([&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(check_absent());
    LocalKeyFile file;
    file.key = key;
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return info;
}

Result<KeyVersionInfo> DirectoryKeyVault::rotate_key(const std::string& key, const KeyOptions& options,
                                                     bool keep_bits) {
  VAULTFS_RETURN_IF_ERROR(check_validity_period(options));
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile before, read_key(key));
  const unsigned bits = keep_bits ? before.oldest_first().back()->info.bits : options.bits;
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, RsaKey::generate(bits));
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, seal_version(key, *pair));
  version.info.not_before = options.not_before;
  version.info.expires = options.expires;
  KeyVersionInfo info;
  const Status stored = with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    // The newest version is the one that vaults move to: a clock that went back, or versions imported with a later
    // time, must not put the new one behind an older one.
    version.info.created_unix_seconds =
        std::max(version.info.created_unix_seconds, file.oldest_first().back()->info.created_unix_seconds);
    info = version.info;
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return info;
}

Status DirectoryKeyVault::set_enabled(const std::string& key, const std::string& version, bool enabled) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    LocalKeyVersion* found = file.find(version);
    if (found == nullptr) return version_not_found(key, version);
    if (found->info.enabled == enabled) return ok_status();
    found->info.enabled = enabled;
    return write_local_key_file(env_, directory_, file);
  });
}

Result<std::string> DirectoryKeyVault::export_version(const std::string& key, const std::string* version,
                                                      const SecretBuffer& passphrase) {
  if (passphrase.empty()) {
    return Error{ErrorCode::PassphraseRequired, "a private key leaves its key vault under a passphrase only; give one"};
  }
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
  const LocalKeyVersion* chosen = version == nullptr ? file.oldest_first().back() : file.find(*version);
  if (chosen == nullptr) return version_not_found(key, *version);
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, open_private(key, *chosen));
  return pair->encrypted_pem(passphrase);
}

Result<KeyVersionInfo> DirectoryKeyVault::import_version(const std::string& key, ByteView pem,
                                                         const SecretBuffer* passphrase,
                                                         std::optional<std::int64_t> created) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, RsaKey::from_pem(pem, passphrase));
  if (!pair->has_private()) {
    return Error{ErrorCode::InvalidArgument,
                 "this is a public key; import the private one, as vaultctl key export wrote it"};
  }
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, seal_version(key, *pair));
  if (created) version.info.created_unix_seconds = *created;
  const KeyVersionInfo info = version.info;
  const Status stored = with_lock([&]() -> Status {
    auto read = read_key(key);
    if (!read.ok() && read.code() != ErrorCode::KeyNotFound) return read.error();
    LocalKeyFile file;
    if (read.ok()) file = *std::move(read);
    file.key = key;
    if (const LocalKeyVersion* there = file.find(info.id); there != nullptr) {
      return Error{ErrorCode::AlreadyExists,
                   "key " + name_ + "/" + key + " has version " + info.id + " already" +
                       (there->info.enabled ? "; nothing to do"
                                            : ", disabled, and it stays so; to enable it: vaultctl key enable " +
                                                  reference(key, info.id))};
    }
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return info;
}

}  // namespace

std::unique_ptr<LocalKeyVault> LocalKeyVault::open(Env& env, std::filesystem::path directory, std::string name,
                                                   PassphraseSource passphrase) {
  return std::make_unique<DirectoryKeyVault>(env, std::move(directory), std::move(name), std::move(passphrase));
}

}  // namespace vaultfs
