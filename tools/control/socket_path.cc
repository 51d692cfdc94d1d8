#include "tools/control/socket_path.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace vaultfs {

Result<std::filesystem::path> runtime_directory() {
  std::filesystem::path directory;
  if (const char* chosen = std::getenv("VAULTFS_RUNTIME_DIR"); chosen != nullptr && *chosen != '\0') {
    directory = chosen;
  } else if (::geteuid() == 0) {
    directory = "/run/vaultfs";
  } else if (const char* session = std::getenv("XDG_RUNTIME_DIR"); session != nullptr && *session != '\0') {
    directory = std::filesystem::path(session) / "vaultfs";
  } else {
    directory = "/tmp/vaultfs-" + std::to_string(::geteuid());
  }
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{error_from_errno(errno),
                 "cannot make the runtime directory " + directory.string() + ": " + std::strerror(errno)};
  }
  struct stat st {};
  if (::lstat(directory.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != ::geteuid() ||
      (st.st_mode & 022U) != 0) {
    return Error{ErrorCode::PermissionDenied,
                 directory.string() + " must be a directory of this user that nobody else can write to"};
  }
  return directory;
}

Result<std::filesystem::path> control_socket_path(const std::filesystem::path& vault) {
  struct stat st {};
  const auto not_permitted = [&vault] {
    return Error{ErrorCode::PermissionDenied,
                 "this user may not look into " + vault.string() + "; a vault belongs to who made it"};
  };
  if (::stat(vault.c_str(), &st) != 0) {
    if (errno == EACCES) return not_permitted();
    return Error{ErrorCode::VaultNotFound,
                 vault.string() + ": " + std::strerror(errno) + "; make one with: vaultctl vault create"};
  }
  const std::filesystem::path lock = vault / "vault.lock";
  if (::lstat(lock.c_str(), &st) != 0) {
    if (errno == EACCES) return not_permitted();
    return Error{ErrorCode::NotAVault, vault.string() + " is not a vault (it has no vault.lock)"};
  }
  if (!S_ISREG(st.st_mode) || st.st_nlink > 1) {
    return Error{ErrorCode::ForeignFile, lock.string() +
                                             (S_ISREG(st.st_mode) ? " has another name besides" : " is not a file") +
                                             ", so that it may be another vault's; while nobody has the vault open, "
                                             "remove it: it is made anew"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::filesystem::path directory, runtime_directory());
  const std::string name =
      std::to_string(major(st.st_dev)) + "." + std::to_string(minor(st.st_dev)) + "-" + std::to_string(st.st_ino);
  return directory / (name + ".sock");
}

}  // namespace vaultfs
