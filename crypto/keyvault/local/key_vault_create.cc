#include <algorithm>
#include <array>
#include <string_view>

#include "crypto/files/private_file.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/local/key_file.h"
#include "crypto/keyvault/local/local_key_vault.h"
#include "crypto/keyvault/local/protection_key.h"
#include "crypto/keyvault/local/vault_file.h"
#include "crypto/keyvault/region.h"

namespace vaultfs {
namespace {

// All that create writes, the file that makes it a key vault first, and what KeyVaultRegistry::add leaves when it is
// killed. A temporary file may stand for each JSON or key file.
constexpr std::string_view kCreationLock = "lock";
constexpr std::array<std::string_view, 6> kFiles{"vault.json",      "vault.json.tmp",    "machine.key",
                                                 "machine.key.tmp", "provider.json.tmp", kCreationLock};

Status check_region(const std::string& region) {
  if (is_region_label(region)) return ok_status();
  return Error{ErrorCode::InvalidArgument, "a region is a label of up to 64 printable ASCII characters"};
}

// True for what a create that was killed leaves: nothing at all, or its lock file, no vault.json, no key, nothing that
// isn't its own.
Result<bool> is_unfinished(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  bool locked = names.empty();
  for (const std::string& name : names) {
    if (name == "vault.json") return false;
    if (name == kCreationLock) locked = true;
    if (name == "keys") {
      VAULTFS_ASSIGN_OR_RETURN(const auto keys, env.list(directory / name));
      if (!keys.empty()) return false;
    } else if (std::ranges::find(kFiles, name) == kFiles.end()) {
      return false;
    }
  }
  return locked;
}

// Removes all that create makes. Errors are ignored: the failure that led here is the one to report.
void discard(Env& env, const Env::Path& directory) {
  for (const std::string_view name : kFiles) {
    if (name != kCreationLock && !env.remove_file(directory / name).ok()) continue;
  }
  if (!env.remove_directory(local_keys_directory(directory)).ok()) return;
  // The mark of an unfinished key vault goes last, so that a crash in here leaves one too.
  if (!env.remove_file(directory / kCreationLock).ok()) return;
  if (!env.remove_directory(directory).ok()) return;
  if (!env.sync_directory(directory.parent_path()).ok()) return;
}

// vault.json comes last: until it is there, the directory is no key vault.
Status fill(Env& env, const Env::Path& directory, LocalVaultFile vault, const SecretBuffer* passphrase) {
  Status made = env.make_directory(local_keys_directory(directory));
  if (!made.ok() && made.code() != ErrorCode::AlreadyExists) return made;
  VAULTFS_RETURN_IF_ERROR(ProtectionKey::create(env, directory, vault, passphrase));
  VAULTFS_RETURN_IF_ERROR(env.sync_directory(directory));
  VAULTFS_RETURN_IF_ERROR(env.sync_directory(directory.parent_path()));
  return write_file_durably(env, local_vault_file_path(directory), bytes_of(vault.encode()));
}

}  // namespace

Status LocalKeyVault::create(Env& env, const std::filesystem::path& directory, const std::string& name,
                             const LocalKeyVaultOptions& options, const SecretBuffer* passphrase) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_RETURN_IF_ERROR(check_region(options.region));
  if (options.purge_protection && !options.soft_delete) {
    return Error{
        ErrorCode::InvalidArgument,
        "purge protection keeps deleted keys, so it needs soft delete; take both or say that you want neither"};
  }
  if (!is_retention(options.retention_days)) {
    return Error{ErrorCode::InvalidArgument, "key vault " + name + " can't keep deleted keys for " +
                                                 std::to_string(options.retention_days) +
                                                 " days; choose 7 to 90 (--retention-days)"};
  }
  const Error exists{ErrorCode::KeyVaultExists, "key vault " + name + " can't be created: " + directory.string() +
                                                    " is there already; use it or choose another name"};
  Status made = env.make_directory(directory);
  if (!made.ok()) {
    if (made.code() != ErrorCode::AlreadyExists) return made;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env.info(directory));
    if (there.kind != FileKind::directory) return exists;
    VAULTFS_ASSIGN_OR_RETURN(const bool unfinished, is_unfinished(env, directory));
    if (!unfinished) return exists;
  }
  // From here on by one process at a time; one that waited finds what the other has made.
  auto lock = wait_for_lock(env, directory / kCreationLock);
  if (!lock.ok()) {
    if (made.ok()) discard(env, directory);
    return lock.error();
  }
  VAULTFS_ASSIGN_OR_RETURN(const bool unfinished, is_unfinished(env, directory));
  if (!unfinished) return exists;

  LocalVaultFile vault;
  vault.name = name;
  vault.created_unix_seconds = env.clock().now().seconds();
  vault.options = options;
  vault.access.emplace();  // nobody yet
  Status filled = fill(env, directory, std::move(vault), passphrase);
  if (!filled.ok()) discard(env, directory);
  return filled;
}

}  // namespace vaultfs
