#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local/key_vault_impl.h"

// Soft delete: one file holds the key whether it is deleted or not, so that a crash leaves it either way and never
// half.

namespace vaultfs {
namespace {

std::int64_t newest_time(const LocalKeyFile& file) { return file.oldest_first().back()->info.created_unix_seconds; }

}  // namespace

Status DirectoryKeyVault::remove_key_file(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(env_.remove_file(local_key_file_path(directory_, key)));
  return env_.sync_directory(local_keys_directory(directory_));
}

Status DirectoryKeyVault::delete_key(const std::string& key) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
    if (!vault.keeps_deleted_keys()) return remove_key_file(key);
    // Not before what the key vault has seen: with a clock that is behind, the retention would be over at once when the
    // clock is right again.
    const std::int64_t at = std::max({now(), vault.created_unix_seconds, newest_time(file)});
    file.deleted = LocalKeyDeletion{at, at + kSecondsPerDay * std::int64_t{vault.options.retention_days}};
    return write_local_key_file(env_, directory_, file);
  });
}

Status DirectoryKeyVault::recover_key(const std::string& key) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key_or_deleted(key));
    if (!file.deleted) return Error{ErrorCode::AlreadyExists, "key " + name_ + "/" + key + " is not deleted"};
    file.deleted.reset();
    return write_local_key_file(env_, directory_, file);
  });
}

Status DirectoryKeyVault::purge_key(const std::string& key) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile file, read_key_or_deleted(key));
    if (!file.deleted) {
      return Error{
          ErrorCode::InvalidArgument,
          "key " + name_ + "/" + key + " is not deleted; delete it first: vaultctl key delete " + name_ + "/" + key};
    }
    VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
    if (vault.options.purge_protection) {
      return Error{ErrorCode::PurgeProtected, "key vault " + name_ +
                                                  " has purge protection: deleted keys are kept until their retention "
                                                  "is over (vaultctl key list " +
                                                  name_ + " --deleted)"};
    }
    return remove_key_file(key);
  });
}

Result<std::vector<DeletedKey>> DirectoryKeyVault::list_deleted() {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_of_key_files());
  std::vector<DeletedKey> deleted;
  for (const std::string& name : names) {
    const auto file = read_local_key_file(env_, directory_, name_, name);
    if (!file.ok() || !file->deleted || file->deleted->purge_after <= now()) continue;
    deleted.push_back({name, file->deleted->at, file->deleted->purge_after, file->versions.size()});
  }
  return deleted;
}

// What fails stays for the next time: nobody sees such a key any more.
void DirectoryKeyVault::purge_expired() {
  const auto names = names_of_key_files();
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const auto file = read_local_key_file(env_, directory_, name_, name);
    if (!file.ok() || !file->deleted || now() < file->deleted->purge_after) continue;
    static_cast<void>(remove_key_file(name));
  }
}

}  // namespace vaultfs
