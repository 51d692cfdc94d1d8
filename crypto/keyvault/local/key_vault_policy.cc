#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "crypto/keyvault/local/key_vault_impl.h"
#include "crypto/keyvault/region.h"

// Rotation policies of keys, access policies and protection of the key vault.

namespace vaultfs {
namespace {

bool is_due(const LocalKeyFile& file, std::int64_t now) {
  if (!file.rotation_policy) return false;
  const std::optional<KeyVersionInfo> newest = file.newest_for_policy(now);
  return newest && file.rotation_policy->due(*newest, now);
}

}  // namespace

Result<std::optional<RotationPolicy>> DirectoryKeyVault::rotation_policy(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile file, read_key(key));
  return file.rotation_policy;
}

Result<std::optional<RotationPolicyText>> DirectoryKeyVault::describe_rotation_policy(const std::string& key) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<RotationPolicy> policy, rotation_policy(key));
  return policy ? std::optional(rotation_policy_text(*policy)) : std::nullopt;
}

Status DirectoryKeyVault::set_rotation_policy(const std::string& key, const std::optional<RotationPolicy>& policy) {
  if (policy) VAULTFS_RETURN_IF_ERROR(policy->check());
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    if (file.rotation_policy == policy) return ok_status();
    file.rotation_policy = policy;
    return write_local_key_file(env_, directory_, file);
  });
}

// A clock that was ahead once must not stop a policy until that date.
Status DirectoryKeyVault::note_future_version(const std::string& key) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyFile file, read_key(key));
    if (file.newest_for_policy(now())) return ok_status();
    file.rotation_counts_from = LocalRotationSighting{file.oldest_first().back()->info.id, now()};
    return write_local_key_file(env_, directory_, file);
  });
}

Result<std::optional<KeyVersionInfo>> DirectoryKeyVault::rotate_if_due(const std::string& key,
                                                                       const std::function<Status()>& announce) {
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyFile before, read_key(key));
  if (before.rotation_policy && !before.newest_for_policy(now())) VAULTFS_RETURN_IF_ERROR(note_future_version(key));
  if (!is_due(before, now())) return std::optional<KeyVersionInfo>();
  if (announce) VAULTFS_RETURN_IF_ERROR(announce());
  VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, make_version(key, before.oldest_first().back()->info.bits));
  if (before.rotation_policy->expiry_days) {
    version.info.expires = version.info.created_unix_seconds + kSecondsPerDay * *before.rotation_policy->expiry_days;
  }
  // Generating took its time: under the lock only the first of several processes still finds it due.
  return add_version(key, std::move(version), [this](const LocalKeyFile& file) { return is_due(file, now()); });
}

Status DirectoryKeyVault::change_vault(const std::function<Status(LocalVaultFile&)>& edit) {
  return with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(LocalVaultFile vault, read_vault());
    const std::string before = vault.encode();
    VAULTFS_RETURN_IF_ERROR(edit(vault));
    const std::string after = vault.encode();
    if (after == before) return ok_status();
    return write_file_durably(env_, local_vault_file_path(directory_), bytes_of(after));
  });
}

Result<LocalKeyVaultOptions> DirectoryKeyVault::options() {
  VAULTFS_ASSIGN_OR_RETURN(const LocalVaultFile vault, read_vault());
  return vault.options;
}

Status DirectoryKeyVault::enable_protection(bool soft_delete, bool purge_protection) {
  return change_vault([&](LocalVaultFile& vault) -> Status {
    vault.options.soft_delete = vault.options.soft_delete || soft_delete;
    if (purge_protection && !vault.options.soft_delete) {
      return Error{ErrorCode::SoftDeleteRequired, "purge protection needs soft delete, which is off in the key vault " +
                                                      name_ + "; turn it on as well: vaultctl keyvault update " +
                                                      name_ + " --enable-soft-delete --enable-purge-protection"};
    }
    vault.options.purge_protection = vault.options.purge_protection || purge_protection;
    return ok_status();
  });
}

Status DirectoryKeyVault::set_region(const std::string& region) {
  if (!is_region_label(region)) {
    return Error{ErrorCode::InvalidArgument, "a region is a label of up to 64 printable ASCII characters"};
  }
  return change_vault([&region](LocalVaultFile& vault) {
    vault.options.region = region;
    return ok_status();
  });
}

Result<std::optional<std::vector<AccessPolicy>>> DirectoryKeyVault::access() {
  VAULTFS_ASSIGN_OR_RETURN(LocalVaultFile vault, read_vault());
  return std::move(vault.access);
}

Status DirectoryKeyVault::allow(const AccessPolicy& policy, bool enforce) {
  return change_vault([&](LocalVaultFile& vault) -> Status {
    if (!vault.access) {
      if (!enforce) {
        return Error{ErrorCode::InvalidArgument,
                     "the key vault " + name_ +
                         " is older than access policies and lets every identity in; its first policy would shut out "
                         "all the others. If that is what you want, say --enforce, and let each of them in"};
      }
      vault.access.emplace();
    }
    std::erase_if(*vault.access, [&](const AccessPolicy& known) { return known.identity == policy.identity; });
    vault.access->push_back(policy);
    return ok_status();
  });
}

Status DirectoryKeyVault::deny(const std::string& identity) {
  return change_vault([&](LocalVaultFile& vault) -> Status {
    const std::size_t gone = !vault.access ? 0 : std::erase_if(*vault.access, [&](const AccessPolicy& known) {
      return known.identity == identity;
    });
    if (gone != 0) return ok_status();
    return Error{ErrorCode::NotFound, "the key vault " + name_ +
                                          " has no policy for that identity; see: vaultctl "
                                          "keyvault show " +
                                          name_};
  });
}

}  // namespace vaultfs
