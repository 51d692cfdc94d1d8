#include "tools/control/socket_path.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/files/user_home.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* kRootsDirectory = "/run/vaultfs";

// Makes `directory` and, in a home, those above it.
Status make_private(const stdfs::path& directory, const stdfs::path& home) {
  if (!home.empty()) {
    stdfs::path made = home;
    for (const stdfs::path& part : directory.parent_path().lexically_relative(home)) {
      made /= part;
      ::mkdir(made.c_str(), 0700);  // what fails here fails below
    }
  }
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{error_from_errno(errno),
                 "cannot make the runtime directory " + directory.string() + ": " + std::strerror(errno)};
  }
  if (is_private_to(directory, ::geteuid())) return ok_status();
  return Error{ErrorCode::PermissionDenied,
               directory.string() + " must be a directory of this user that nobody else can write to"};
}

bool belongs_to(const stdfs::path& directory, uid_t user) {
  struct stat st {};
  return ::stat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == user;
}

std::string socket_name_of(dev_t device, ino_t inode) {
  return std::to_string(major(device)) + "." + std::to_string(minor(device)) + "-" + std::to_string(inode) + ".sock";
}

}  // namespace

std::vector<stdfs::path> runtime_directories(uid_t user) {
  std::vector<stdfs::path> directories;
  const char* chosen = user == ::geteuid() ? std::getenv("VAULTFS_RUNTIME_DIR") : nullptr;
  if (chosen != nullptr && *chosen == '/') directories.emplace_back(chosen);
  if (user == 0) {
    directories.emplace_back(kRootsDirectory);
    return directories;
  }
  if (const stdfs::path session = "/run/user/" + std::to_string(user); belongs_to(session, user)) {
    directories.push_back(session / "vaultfs");
  }
  if (const stdfs::path home = user_home(user); !home.empty() && belongs_to(home, user)) {
    directories.push_back(home / ".local/share/vaultfs/run");
  }
  return directories;
}

bool is_private_to(const stdfs::path& directory, uid_t user) {
  struct stat st {};
  return ::lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == user && (st.st_mode & 022U) == 0;
}

Result<std::vector<stdfs::path>> make_runtime_directories() {
  const uid_t user = ::geteuid();
  const stdfs::path home = user == 0 ? stdfs::path{} : user_home(user);
  std::vector<stdfs::path> made;
  Status first = Error{ErrorCode::PermissionDenied,
                       "this user has neither /run/user/" + std::to_string(user) +
                           " nor a home directory, where the mount could be spoken to; name a directory: "
                           "VAULTFS_RUNTIME_DIR"};
  bool tried = false;
  for (const stdfs::path& directory : runtime_directories(user)) {
    const auto [at_home, rest] = std::ranges::mismatch(home, directory);
    Status status = make_private(directory, !home.empty() && at_home == home.end() ? home : stdfs::path{});
    if (status.ok()) made.push_back(directory);
    if (!tried) first = std::move(status);
    tried = true;
  }
  if (made.empty()) return std::move(first).error();
  return made;
}

Result<SocketName> control_socket_name(const stdfs::path& vault) {
  struct stat st {};
  const auto not_permitted = [&vault] {
    return Error{ErrorCode::PermissionDenied,
                 "this user may not look into " + vault.string() + "; a vault belongs to who made it"};
  };
  if (::stat(vault.c_str(), &st) != 0) {
    if (errno == EACCES) return not_permitted();
    if (errno != ENOENT && errno != ENOTDIR) {
      return Error{error_from_errno(errno), vault.string() + ": " + std::strerror(errno)};
    }
    return Error{ErrorCode::VaultNotFound,
                 vault.string() + ": " + std::strerror(errno) + "; make one with: vaultctl vault create"};
  }
  const stdfs::path lock = vault / "vault.lock";
  if (::lstat(lock.c_str(), &st) != 0) {
    if (errno == EACCES) return not_permitted();
    if (errno != ENOENT && errno != ENOTDIR) {
      return Error{error_from_errno(errno), lock.string() + ": " + std::strerror(errno)};
    }
    return Error{ErrorCode::NotAVault, vault.string() + " is not a vault (it has no vault.lock)"};
  }
  if (!S_ISREG(st.st_mode) || st.st_nlink > 1) {
    return Error{ErrorCode::ForeignFile, lock.string() +
                                             (S_ISREG(st.st_mode) ? " has another name besides" : " is not a file") +
                                             ", so that it may be another vault's; while nobody has the vault open, "
                                             "remove it: it is made anew"};
  }
  return SocketName{socket_name_of(st.st_dev, st.st_ino), st.st_uid};
}

Result<SocketName> control_socket_name(VaultDirectory& vault) {
  const stdfs::path lock = vault.place() / kLockFileName;
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, vault.info(lock));
  if (info.kind != FileKind::file || info.links > 1) {
    return Error{ErrorCode::ForeignFile, lock.string() + " is not the file that this process has locked"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo directory, vault.identity());
  return SocketName{socket_name_of(info.device, info.inode), directory.owner};
}

std::string mount_socket_name(const std::string& device) {
  std::string name = "mount-" + device + ".sock";
  std::ranges::replace(name, ':', '.');
  return name;
}

}  // namespace vaultfs
