#include "vaultmeta/machine/platform_keys.h"

#include <memory>
#include <utility>

#include "base/bytes.h"
#include "crypto/files/private_file.h"

namespace vaultfs {
namespace {

constexpr KeyFileMagic kMagic{'V', 'P', 'L', 'K'};

Error missing(const PlatformKeyId& id) {
  return Error{
      ErrorCode::PlatformKeyMissing,
      "platform key " + to_hex(id.view()) +
          " is not on this machine; a vault from another machine, or one whose machine state was lost, gets it back "
          "from its recovery file: vaultctl vault recover VAULT --recovery-file FILE"};
}

}  // namespace

PlatformKeys::PlatformKeys(Env& env, std::filesystem::path home)
    : env_(env), directory_(std::move(home) / "platform-keys") {}

std::filesystem::path PlatformKeys::path_of(const PlatformKeyId& id) const {
  return directory_ / (to_hex(id.view()) + ".key");
}

Result<std::unique_ptr<FileLock>> PlatformKeys::begin_change() {
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, directory_));
  VAULTFS_ASSIGN_OR_RETURN(auto lock, wait_for_lock(env_, directory_ / "lock"));
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory_));
  for (const std::string& name : names) {
    // Nobody else writes while the lock is held, so such a file is a key that never came into use.
    if (name.ends_with(".key.tmp")) VAULTFS_RETURN_IF_ERROR(env_.remove_file(directory_ / name));
  }
  return lock;
}

Status PlatformKeys::write_new(const PlatformKeyId& id, const SecretBuffer& key) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer content, encode_key_file(kMagic, id.view(), key));
  return write_file_durably(env_, path_of(id), content.view());
}

Result<PlatformKeyId> PlatformKeys::create() {
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, begin_change());
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, SecretBuffer::allocate(kKeyFileKeyBytes));
  env_.fill_random(key.mutable_view());
  const auto id = random_id<PlatformKeyId>(env_);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env_.info(path_of(id)));
  // 128 random bits don't repeat; a broken generator might, and a key must never be lost to that.
  if (there.kind != FileKind::missing) {
    return Error{ErrorCode::RefusedOverwrite,
                 path_of(id).string() + " exists already; the random generator repeats itself"};
  }
  VAULTFS_RETURN_IF_ERROR(write_new(id, key));
  return id;
}

Result<SecretBuffer> PlatformKeys::load(const PlatformKeyId& id) {
  auto key = read_key_file(env_, path_of(id), kMagic, id.view());
  if (!key.ok() && key.code() == ErrorCode::NotFound) return missing(id);
  return key;
}

Status PlatformKeys::install(const PlatformKeyId& id, const SecretBuffer& key) {
  if (key.size() != kKeyFileKeyBytes) {
    return Error{ErrorCode::InvalidArgument, "a platform key has 32 bytes, not " + std::to_string(key.size())};
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, begin_change());
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env_.info(path_of(id)));
  if (there.kind == FileKind::missing) return write_new(id, key);
  const auto stored = load(id);
  if (stored.ok() && constant_time_equal(stored->view(), key.view())) return ok_status();
  if (!stored.ok() && stored.code() == ErrorCode::PermissionDenied) return stored.error();
  return Error{ErrorCode::RefusedOverwrite,
               path_of(id).string() +
                   (stored.ok() ? " holds another key of that id" : " is damaged: " + stored.error().message) +
                   "; if it is not needed, move it away and try again"};
}

Status PlatformKeys::remove(const PlatformKeyId& id) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo there, env_.info(path_of(id)));
  if (there.kind == FileKind::missing) return missing(id);
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, begin_change());
  const Status removed = env_.remove_file(path_of(id));
  if (!removed.ok() && removed.code() == ErrorCode::NotFound) return missing(id);
  VAULTFS_RETURN_IF_ERROR(removed);
  return env_.sync_directory(directory_);
}

}  // namespace vaultfs
