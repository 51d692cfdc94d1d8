#include "vaultmeta/vault_directory.h"

#include <cstdlib>
#include <utility>

namespace vaultfs {

Status VaultDirectory::open() {
  asked_ = std::filesystem::absolute(asked_).lexically_normal();
  if (!asked_.has_filename() && asked_ != asked_.root_path()) asked_ = asked_.parent_path();
  VAULTFS_ASSIGN_OR_RETURN(place_, machine_.real_path(asked_));
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, machine_.info(place_));
  if (info.kind == FileKind::missing) {
    return Error{ErrorCode::VaultNotFound, "there is no vault at " + asked_.string()};
  }
  if (info.kind != FileKind::directory) {
    return Error{ErrorCode::NotAVault, asked_.string() + " is not a directory"};
  }
  VAULTFS_ASSIGN_OR_RETURN(held_, machine_.hold_directory(place_));
  return ok_status();
}

Result<bool> VaultDirectory::is_at(const Path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo opened, identity());
  const auto there = machine_.info(path);
  return there.ok() && there->is_same_as(opened);
}

Status VaultDirectory::check_place() {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo opened, identity());
  const auto there = machine_.info(place_);
  if (there.ok() && there->is_same_as(opened)) return ok_status();
  const bool nothing = !there.ok() || there->kind == FileKind::missing;
  return Error{ErrorCode::AnotherVault, place_.string() + (nothing ? " is gone" : " is another directory now") +
                                            "; what was opened there is still used"};
}

namespace {

// Why a folder could not be used, told as what it means for a vault whose header is there.
Error folder_error(const Env::Path& folder, Error error) {
  if (error.code != ErrorCode::NotFound && error.code != ErrorCode::NotADirectory) return error;
  const std::string what = error.code == ErrorCode::NotFound ? " is missing" : " is not a folder";
  return Error{ErrorCode::DamagedHeader, "the vault's folder " + folder.filename().string() + what +
                                             "; put it back from a copy of the vault, or make an empty one if it was "
                                             "empty"};
}

}  // namespace

Result<std::vector<std::string>> VaultDirectory::list(const Path& directory) {
  auto names = held().list(directory);
  if (!names.ok()) return folder_error(directory, names.error());
  return names;
}

Status VaultDirectory::sync_directory(const Path& directory) {
  Status synced = held().sync_directory(directory);
  if (!synced.ok()) return folder_error(directory, synced.error());
  return synced;
}

Env& VaultDirectory::held() {
  if (held_ == nullptr) std::abort();
  return *held_;
}

}  // namespace vaultfs
