#include "vaultmeta/machine/local_key_vaults.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "crypto/files/private_file.h"
#include "crypto/keyvault/local/vault_file.h"

namespace vaultfs {

LocalKeyVaults::LocalKeyVaults(Env& env, const std::filesystem::path& home, PassphraseByName passphrase)
    : env_(env), directory_(home / "keyvaults"), passphrase_(std::move(passphrase)) {}

Status LocalKeyVaults::create(const std::string& name, const LocalKeyVaultOptions& options,
                              const SecretBuffer* passphrase) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, directory_));
  return LocalKeyVault::create(env_, path_of(name), name, options, passphrase);
}

Result<std::vector<std::string>> LocalKeyVaults::list() {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory_));
  if (info.kind == FileKind::missing) return std::vector<std::string>{};
  VAULTFS_ASSIGN_OR_RETURN(const auto entries, env_.list(directory_));
  std::vector<std::string> names;
  for (const std::string& entry : entries) {
    if (!is_key_name(entry)) continue;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo properties, env_.info(local_vault_file_path(path_of(entry))));
    if (properties.kind != FileKind::missing) names.push_back(entry);
  }
  return names;
}

Result<std::unique_ptr<LocalKeyVault>> LocalKeyVaults::open(const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_RETURN_IF_ERROR(read_local_vault_file(env_, path_of(name), name));
  LocalKeyVault::PassphraseSource source;
  if (passphrase_) source = [ask = passphrase_, name] { return ask(name); };
  return LocalKeyVault::open(env_, path_of(name), name, std::move(source));
}

Result<std::vector<KeyRef>> LocalKeyVaults::find_version(const std::string& version_id) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, list());
  std::vector<KeyRef> found;
  std::optional<Error> passed_over;
  for (const std::string& name : names) {
    const auto vault = open(name);
    if (!vault.ok()) {
      passed_over = vault.error();
      continue;
    }
    const auto keys = (*vault)->list_keys();
    if (!keys.ok()) {
      passed_over = keys.error();
      continue;
    }
    for (const std::string& key : *keys) {
      const auto versions = (*vault)->list_versions(key);
      if (!versions.ok()) {
        passed_over = versions.error();
      } else if (std::ranges::any_of(*versions, [&](const KeyVersionInfo& v) { return v.id == version_id; })) {
        found.push_back({name, key, version_id});
      }
    }
  }
  if (found.empty() && passed_over) return *passed_over;
  return found;
}

}  // namespace vaultfs
