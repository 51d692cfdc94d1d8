#include <algorithm>
#include <utility>

#include "crypto/committed_key.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local/key_vault_impl.h"
#include "crypto/keyvault/wrap_times.h"

namespace vaultfs {
namespace {

constexpr std::string_view kLocalAlgorithm = "RSA-OAEP-256";
constexpr std::string_view kPrivateKeyLabel = "vaultfs/1 local-key-vault private key";
// What RSA-OAEP-256 holds under 2048 bits (RFC 8017 section 7.1.1): the same for every size, so that a rotation to
// another size never makes a wrap impossible.
constexpr std::string_view kKeyFileSuffix = ".json";

}  // namespace

// --- reading ---

Result<LocalKeyFile> DirectoryKeyVault::read_key_or_deleted(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  // The key vault first: a key is missing only if the key vault that should hold it is there.
  VAULTFS_RETURN_IF_ERROR(read_vault());
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_local_key_file(env_, directory_, name_, key));
  if (!file.deleted || now() < file.deleted->purge_after) return file;
  return Error{ErrorCode::KeyNotFound, "key vault " + name_ + " has no key " + key +
                                           " any more: it was deleted and the time to recover it is over"};
}

Result<LocalKeyFile> DirectoryKeyVault::read_key(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key_or_deleted(key));
  if (!file.deleted) return file;
  return Error{ErrorCode::KeyNotFound,
               "key " + name_ + "/" + key + " is deleted; recover it with: vaultctl key recover " + name_ + "/" + key};
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
  return check_wrap_times(name_ + "/" + key, version, env_.clock().now().seconds());
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

// Two directories may be one by a link, but then versions have their own ids in both.
Result<KeyVaultPlace> DirectoryKeyVault::place() { return KeyVaultPlace{directory_.lexically_normal().string()}; }

Result<std::vector<KeyVersionInfo>> DirectoryKeyVault::list_versions(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile file, read_key(key));
  std::vector<KeyVersionInfo> versions;
  for (const LocalKeyVersion* version : file.oldest_first()) versions.push_back(version->info);
  return versions;
}

Result<std::vector<std::string>> DirectoryKeyVault::names_of_key_files() {
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

Result<std::vector<std::string>> DirectoryKeyVault::list_keys() {
  VAULTFS_ASSIGN_OR_RETURN(std::vector<std::string> keys, names_of_key_files());
  // One that is damaged is listed: it is there.
  std::erase_if(keys, [this](const std::string& key) {
    const auto file = read_local_key_file(env_, directory_, name_, key);
    return file.ok() ? file->deleted.has_value() : file.code() == ErrorCode::KeyNotFound;
  });
  return keys;
}

// --- wrapping ---

Result<std::string> DirectoryKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(read_version(key, version));
  return std::string(kLocalAlgorithm);
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

Result<LocalKeyVersion> DirectoryKeyVault::make_version(const std::string& key, unsigned bits) {
  // Generating takes up to seconds: a wrong passphrase is told before.
  VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
  VAULTFS_RETURN_IF_ERROR(protection_.get(vault));
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, RsaKey::generate(bits));
  return seal_version(key, *pair);
}

Result<SecretBuffer> DirectoryKeyVault::unwrap(const std::string& key, const std::string& version,
                                               std::string_view algorithm, ByteView wrapped) {
  if (algorithm != kLocalAlgorithm) {
    return Error{ErrorCode::NotSupportedByProvider, "a local key vault unwraps " + std::string(kLocalAlgorithm) +
                                                        " only; this was wrapped by another key vault"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyVersion stored, read_version(key, version));
  VAULTFS_RETURN_IF_ERROR(check_not_disabled(key, stored.info));
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, open_private(key, stored));
  return pair->decrypt(wrapped);
}

std::unique_ptr<LocalKeyVault> LocalKeyVault::open(Env& env, std::filesystem::path directory, std::string name,
                                                   PassphraseSource passphrase) {
  return std::make_unique<DirectoryKeyVault>(env, std::move(directory), std::move(name), std::move(passphrase));
}

}  // namespace vaultfs
