#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/files/private_file.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local/key_vault_impl.h"

namespace vaultfs {
namespace {

Status check_validity_period(const KeyOptions& options) {
  if (options.not_before && options.expires && *options.expires <= *options.not_before) {
    return Error{ErrorCode::InvalidArgument, "the version would expire before it becomes valid; give an exp after nbf"};
  }
  return ok_status();
}

}  // namespace

Status DirectoryKeyVault::with_lock(const std::function<Status()>& change) {
  if (changing_ == std::this_thread::get_id()) return change();  // inside another change
  const MutexLock guard(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(read_vault());  // never makes a lock file where no key vault is
  VAULTFS_ASSIGN_OR_RETURN(const auto file_lock, wait_for_lock(env_, directory_ / "lock"));
  changing_ = std::this_thread::get_id();
  const auto changed = [this](void*) { changing_ = std::thread::id(); };
  const std::unique_ptr<void, decltype(changed)> at_end(this, changed);
  purge_expired();
  return change();
}

Status DirectoryKeyVault::check_absent(const std::string& key) {
  const auto file = read_key_or_deleted(key);
  if (!file.ok()) return file.code() == ErrorCode::KeyNotFound ? ok_status() : Status(file.error());
  const std::string reference = name_ + "/" + key;
  if (file->deleted) {
    return Error{ErrorCode::KeyExists,
                 "key " + reference + " was deleted and is kept; recover it with: vaultctl key recover " + reference +
                     ", or (without purge protection) destroy it with: vaultctl key purge " + reference};
  }
  return Error{ErrorCode::KeyExists,
               "key " + reference + " exists already; for a new version of it: vaultctl key rotate " + reference};
}

Result<KeyVersionInfo> DirectoryKeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_validity_period(options));
  // Generating takes up to seconds, so the lock is taken afterwards and the check repeated under it.
  VAULTFS_RETURN_IF_ERROR(check_absent(key));
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, make_version(key, options.bits));
  version.info.not_before = options.not_before;
  version.info.expires = options.expires;
  const KeyVersionInfo info = version.info;
  const Status stored = with_lock([&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(check_absent(key));
    LocalKeyFile file;
    file.key = key;
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return info;
}

Result<std::optional<KeyVersionInfo>> DirectoryKeyVault::add_version(
    const std::string& key, LocalKeyVersion version, const std::function<bool(const LocalKeyFile&)>& wanted) {
  std::optional<KeyVersionInfo> added;
  const Status stored = with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    if (!wanted(file)) return ok_status();
    // The newest version is the one that vaults move to: a clock that went back, or versions imported with a later
    // time, must not put the new one behind an older one.
    version.info.created_unix_seconds =
        std::max(version.info.created_unix_seconds, file.oldest_first().back()->info.created_unix_seconds);
    added = version.info;
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return added;
}

Result<KeyVersionInfo> DirectoryKeyVault::rotate_key(const std::string& key, const KeyOptions& options,
                                                     bool keep_bits) {
  VAULTFS_RETURN_IF_ERROR(check_validity_period(options));
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile before, read_key(key));
  const unsigned bits = keep_bits ? before.oldest_first().back()->info.bits : options.bits;
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, make_version(key, bits));
  version.info.not_before = options.not_before;
  version.info.expires = options.expires;
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<KeyVersionInfo> added,
                           add_version(key, std::move(version), [](const LocalKeyFile&) { return true; }));
  return *added;
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

Status DirectoryKeyVault::note_export(const std::string& key, const std::vector<std::string>& versions) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    for (const std::string& version : versions) {
      LocalKeyVersion* found = file.find(version);
      if (found == nullptr) return version_not_found(key, version);
      found->exported = now();
    }
    return write_local_key_file(env_, directory_, file);
  });
}

Result<std::vector<LocalKeyExport>> DirectoryKeyVault::exports(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile file, read_key(key));
  std::vector<LocalKeyExport> all;
  for (const LocalKeyVersion* version : file.oldest_first()) all.push_back({version->info.id, version->exported});
  return all;
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
  KeyVersionInfo info = version.info;
  const Status stored = with_lock([&]() -> Status {
    auto read = read_key_or_deleted(key);
    if (!read.ok() && read.code() != ErrorCode::KeyNotFound) return read.error();
    if (read.ok() && read->deleted) return check_absent(key);
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
    // As for a new version: what is imported now is the newest, whatever the clock says.
    if (!created && !file.versions.empty()) {
      version.info.created_unix_seconds =
          std::max(version.info.created_unix_seconds, file.oldest_first().back()->info.created_unix_seconds);
    }
    info = version.info;
    file.versions.push_back(std::move(version));
    return write_local_key_file(env_, directory_, file);
  });
  VAULTFS_RETURN_IF_ERROR(stored);
  return info;
}

}  // namespace vaultfs
