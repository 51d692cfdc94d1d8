#include "vaultmeta/machine/key_vault_registry.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/thread/mutex.h"
#include "crypto/files/private_file.h"
#include "crypto/keyvault/local/vault_file.h"
#include "crypto/keyvault/provider_table.h"

namespace vaultfs {
namespace {

constexpr std::string_view kRegistryLock = "lock";
// What an `add` that was killed leaves in a new directory. Anything else there belongs to somebody.
constexpr std::array<std::string_view, 2> kUnfinished{kRegistryLock, "provider.json.tmp"};
// No key vault can have such a name.
constexpr std::string_view kRemovedPrefix = ".removed-";

Result<bool> is_free(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  return std::ranges::all_of(
      names, [](const std::string& name) { return std::ranges::find(kUnfinished, name) != kUnfinished.end(); });
}

Status remove_tree(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  for (const std::string& name : names) {
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory / name));
    VAULTFS_RETURN_IF_ERROR(info.kind == FileKind::directory ? remove_tree(env, directory / name)
                                                             : env.remove_file(directory / name));
  }
  return env.remove_directory(directory);
}

}  // namespace

KeyVaultRegistry::KeyVaultRegistry(Env& env, const std::filesystem::path& home, LocalKeyVaults& local)
    : env_(env), directory_(home / "keyvaults"), local_(local) {}

Result<bool> KeyVaultRegistry::is_external(const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(provider_file_path(directory_ / name)));
  return info.kind != FileKind::missing;
}

Result<bool> KeyVaultRegistry::is_local(const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(local_vault_file_path(directory_ / name)));
  return info.kind != FileKind::missing;
}

Status KeyVaultRegistry::add(const std::string& name, const std::string& provider, const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_ASSIGN_OR_RETURN(const Provider* known, find_provider(provider));
  VAULTFS_RETURN_IF_ERROR(known->check_options(options));
  ProviderFile file;
  file.name = name;
  file.provider = provider;
  file.options = options;
  file.created_unix_seconds = env_.clock().now().seconds();
  VAULTFS_ASSIGN_OR_RETURN(const std::string text, file.encode());

  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, directory_));
  const Env::Path directory = directory_ / name;
  const Error exists{ErrorCode::KeyVaultExists, "key vault " + name + " can't be registered: " + directory.string() +
                                                    " is there already; use it or choose another name"};
  Status made = env_.make_directory(directory);
  if (!made.ok()) {
    if (made.code() != ErrorCode::AlreadyExists) return made;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env_.info(directory));
    if (there.kind != FileKind::directory) return exists;
    VAULTFS_ASSIGN_OR_RETURN(const bool free, is_free(env_, directory));
    if (!free) return exists;
  }
  // From here on by one process at a time, local key vaults' creation included.
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, wait_for_lock(env_, directory / kRegistryLock));
  VAULTFS_ASSIGN_OR_RETURN(const bool free, is_free(env_, directory));
  if (!free) return exists;
  VAULTFS_RETURN_IF_ERROR(env_.sync_directory(directory_));
  return write_file_durably(env_, provider_file_path(directory), bytes_of(text));
}

Status KeyVaultRegistry::remove_directory(const std::string& name) {
  const Env::Path away = directory_ / (std::string(kRemovedPrefix) + name);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo before, env_.info(away));
  if (before.kind == FileKind::directory) VAULTFS_RETURN_IF_ERROR(remove_tree(env_, away));  // of a crash
  // One step, so that a crash leaves it whole or gone.
  VAULTFS_RETURN_IF_ERROR(env_.rename(directory_ / name, away));
  VAULTFS_RETURN_IF_ERROR(env_.sync_directory(directory_));
  VAULTFS_RETURN_IF_ERROR(remove_tree(env_, away));
  return env_.sync_directory(directory_);
}

Status KeyVaultRegistry::remove(const std::string& name, const std::function<Status()>& still_right) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_ASSIGN_OR_RETURN(const bool external, is_external(name));
  if (external) {
    VAULTFS_ASSIGN_OR_RETURN(const auto lock, wait_for_lock(env_, directory_ / name / kRegistryLock));
    if (still_right) VAULTFS_RETURN_IF_ERROR(still_right());
    VAULTFS_RETURN_IF_ERROR(remove_directory(name));
    const MutexLock guard(mutex_);
    std::erase_if(opened_, [&name](const auto& entry) { return entry.first.first == name; });
    return ok_status();
  }
  VAULTFS_ASSIGN_OR_RETURN(const bool local, is_local(name));
  if (!local) {
    return Error{ErrorCode::KeyVaultNotFound,
                 "this machine has no key vault " + name + "; see: vaultctl keyvault list"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(name));
  return key_vault->with_lock([&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(std::vector<std::string> keys, key_vault->list_keys());
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DeletedKey> deleted, key_vault->list_deleted());
    for (const DeletedKey& key : deleted) keys.push_back(key.key);
    if (!keys.empty()) {
      return Error{ErrorCode::KeyVaultInUse,
                   "the local key vault " + name + " holds keys (" + keys.front() + (keys.size() > 1 ? ", …" : "") +
                       "), which would be destroyed; delete and purge them first (with purge protection a "
                       "deleted key goes when its retention ends)"};
    }
    if (still_right) VAULTFS_RETURN_IF_ERROR(still_right());
    return remove_directory(name);
  });
}

Status KeyVaultRegistry::set_region(const std::string& name, const std::string& region) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_ASSIGN_OR_RETURN(const bool external, is_external(name));
  if (!external) {
    VAULTFS_ASSIGN_OR_RETURN(const bool local, is_local(name));
    if (!local) {
      return Error{ErrorCode::KeyVaultNotFound,
                   "this machine has no key vault " + name + "; see: vaultctl keyvault list"};
    }
    VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(name));
    return key_vault->set_region(region);
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, wait_for_lock(env_, directory_ / name / kRegistryLock));
  VAULTFS_ASSIGN_OR_RETURN(ProviderFile file, read_provider_file(env_, directory_ / name, name));
  if (region.empty()) {
    file.options.erase("region");
  } else {
    file.options["region"] = region;
  }
  VAULTFS_ASSIGN_OR_RETURN(const Provider* known, find_provider(file.provider));
  VAULTFS_RETURN_IF_ERROR(known->check_options(file.options));
  VAULTFS_ASSIGN_OR_RETURN(const std::string text, file.encode());
  return write_file_durably(env_, provider_file_path(directory_ / name), bytes_of(text));
}

Result<KeyVaultRegistry::Entry> KeyVaultRegistry::find(const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_ASSIGN_OR_RETURN(const bool external, is_external(name));
  if (external) {
    VAULTFS_ASSIGN_OR_RETURN(ProviderFile file, read_provider_file(env_, directory_ / name, name));
    return Entry{name, std::move(file.provider), std::move(file.options), std::nullopt};
  }
  VAULTFS_ASSIGN_OR_RETURN(const bool local, is_local(name));
  if (local) return Entry{name, std::string(kLocalProvider), {}, std::nullopt};
  return Error{ErrorCode::KeyVaultUnavailable,
               "this machine has no key vault " + name +
                   "; mount the disk that holds it, make a local one with: vaultctl keyvault create " + name +
                   ", or register one with: vaultctl keyvault add " + name};
}

Result<std::vector<KeyVaultRegistry::Entry>> KeyVaultRegistry::list() {
  std::vector<Entry> entries;
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory_));
  if (info.kind == FileKind::missing) return entries;
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory_));
  for (const std::string& name : names) {
    if (!is_key_name(name)) continue;
    auto entry = find(name);
    if (entry.ok()) {
      entries.push_back(std::move(entry).value());
    } else if (entry.code() != ErrorCode::KeyVaultUnavailable) {
      entries.push_back({name, "", {}, std::move(entry).error()});
    }
  }
  return entries;
}

Result<std::shared_ptr<LocalKeyVault>> KeyVaultRegistry::open_local(const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const Entry entry, find(name));
  if (entry.provider != kLocalProvider) {
    return Error{ErrorCode::NotSupportedByProvider, "the key vault " + name + " is not a local one but " +
                                                        entry.provider +
                                                        ", which has no such command; use its own tools"};
  }
  // Also where it is open already: this tells that it is still there.
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<LocalKeyVault> opened, local_.open(name));
  const MutexLock lock(mutex_);
  return opened_local_.emplace(name, std::move(opened)).first->second;
}

Result<std::shared_ptr<AdministeredKeyVault>> KeyVaultRegistry::open(const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const Entry entry, find(name));
  if (entry.provider != kLocalProvider) return open_external(name, {});
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<LocalKeyVault> opened, open_local(name));
  return std::shared_ptr<AdministeredKeyVault>(std::move(opened));
}

Result<std::shared_ptr<AdministeredKeyVault>> KeyVaultRegistry::open_external(const std::string& name,
                                                                              const ProviderIdentity& identity) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_ASSIGN_OR_RETURN(const ProviderFile file, read_provider_file(env_, directory_ / name, name));
  const std::pair place(name, identity.name);
  {
    const MutexLock lock(mutex_);
    const auto found = opened_.find(place);
    if (found != opened_.end() && found->second.registration == file &&
        found->second.identity_options == identity.options) {
      return found->second.key_vault;
    }
  }
  VAULTFS_ASSIGN_OR_RETURN(const Provider* provider, find_provider(file.provider));
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<AdministeredKeyVault> opened,
                           provider->open({env_, directory_ / name, name, file.options, identity}));
  const MutexLock lock(mutex_);
  return opened_.insert_or_assign(place, Opened{file, identity.options, std::move(opened)}).first->second.key_vault;
}

}  // namespace vaultfs
