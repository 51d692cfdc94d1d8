#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "fs/mount/mount.h"

namespace vaultfs {
namespace {

namespace stdfs = std::filesystem;

bool is_inside(const stdfs::path& inner, const stdfs::path& outer) {
  auto part = inner.begin();
  for (const stdfs::path& wanted : outer) {
    if (part == inner.end() || *part != wanted) return false;
    ++part;
  }
  return true;
}

}  // namespace

Status check_mount_point(const stdfs::path& mount_point, const stdfs::path& vault, bool nonempty) {
  struct stat here {};
  if (::stat(mount_point.c_str(), &here) != 0) {
    if (errno == ENOTCONN) {
      return Error{ErrorCode::MountPointBusy, mount_point.string() +
                                                  " is the mount of a daemon that died; free it with: umount -l " +
                                                  mount_point.string()};
    }
    return Error{ErrorCode::MountPointInvalid,
                 mount_point.string() + " is not there; make it with: mkdir " + mount_point.string()};
  }
  if (!S_ISDIR(here.st_mode)) {
    return Error{ErrorCode::MountPointInvalid,
                 mount_point.string() + " is not a directory; name an empty directory to mount on"};
  }
  std::error_code problem;
  const stdfs::path real_mount = stdfs::canonical(mount_point, problem);
  if (problem) return Error{ErrorCode::MountPointInvalid, mount_point.string() + ": " + problem.message()};
  const stdfs::path real_vault = stdfs::canonical(vault, problem);
  if (problem) return Error{ErrorCode::VaultNotFound, vault.string() + ": " + problem.message()};
  if (is_inside(real_mount, real_vault) || is_inside(real_vault, real_mount)) {
    return Error{ErrorCode::OverlapsVault,
                 "the mount point " + real_mount.string() + " and the vault " + real_vault.string() +
                     " lie inside one another, which would deadlock; choose a mount point elsewhere"};
  }
  struct stat above {};
  if (::stat((real_mount / "..").c_str(), &above) == 0 &&
      (above.st_dev != here.st_dev || above.st_ino == here.st_ino)) {
    return Error{ErrorCode::MountPointBusy,
                 "something is mounted on " + real_mount.string() + " already; unmount it first"};
  }
  const bool empty = stdfs::is_empty(real_mount, problem);
  if (problem)
    return Error{ErrorCode::PermissionDenied, "cannot look into " + real_mount.string() + ": " + problem.message()};
  if (!empty && !nonempty) {
    return Error{ErrorCode::MountPointBusy,
                 real_mount.string() + " is not empty; choose an empty directory, or mount over it with -o nonempty"};
  }
  return ok_status();
}

}  // namespace vaultfs
