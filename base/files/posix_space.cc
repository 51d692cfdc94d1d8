// What is left to store, and why no more was taken.
#include <linux/dqblk_xfs.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>

#include "base/files/posix_file.h"

namespace vaultfs::posix {

std::uint64_t left_of_limit(std::uint64_t hard, std::uint64_t soft, std::uint64_t used, std::uint64_t grace_ends,
                            std::uint64_t now) {
  if (soft != 0 && used >= soft && grace_ends != 0 && grace_ends <= now) return 0;
  return hard == 0 ? FreeSpace::kNoLimit : hard - std::min(hard, used);
}

namespace {

// The quota of this user (or one of its groups) on the file system of an open file. Nothing where there is none, or
// where the kernel can't tell (before Linux 5.14, on file servers).
std::optional<FreeSpace> quota_of(int fd, int kind, unsigned id) {
#ifdef SYS_quotactl_fd
  // Not Q_GETQUOTA: the kernel takes that for a write, so it waits for as long as the file system is frozen, and df and
  // every writer with it. Any file system with quotas answers this one.
  fs_disk_quota_t quota{};
  if (::syscall(SYS_quotactl_fd, fd, QCMD(Q_XGETQUOTA, kind), id, &quota) != 0) return std::nullopt;
  constexpr std::uint64_t kUnit = 512;
  const auto time_of = [&](std::int32_t low, std::int8_t high) {
    const auto unsigned_low = static_cast<std::uint32_t>(low);
    if ((quota.d_fieldmask & FS_DQ_BIGTIME) == 0) return std::uint64_t{unsigned_low};
    return static_cast<std::uint64_t>(static_cast<std::uint8_t>(high)) << 32 | unsigned_low;
  };
  const auto now = static_cast<std::uint64_t>(::time(nullptr));
  FreeSpace left;
  left.bytes = left_of_limit(quota.d_blk_hardlimit * kUnit, quota.d_blk_softlimit * kUnit, quota.d_bcount * kUnit,
                             time_of(quota.d_btimer, quota.d_btimer_hi), now);
  left.files = left_of_limit(quota.d_ino_hardlimit, quota.d_ino_softlimit, quota.d_icount,
                             time_of(quota.d_itimer, quota.d_itimer_hi), now);
  return left;
#else
  static_cast<void>(fd);
  static_cast<void>(kind);
  static_cast<void>(id);
  return std::nullopt;
#endif
}

void apply_quota(FreeSpace& space, const std::optional<FreeSpace>& quota) {
  if (!quota.has_value()) return;
  if (quota->bytes < space.bytes) {
    space.bytes = quota->bytes;
    space.bytes_by_quota = true;
  }
  if (quota->files < space.files) {
    space.files = quota->files;
    space.files_by_quota = true;
  }
}

}  // namespace

Result<FreeSpace> free_space_of(int fd, const std::filesystem::path& path) {
  struct statvfs vfs {};
  if (::fstatvfs(fd, &vfs) != 0) return system_error(errno, "cannot ask for the free space of", path);
  FreeSpace space;
  space.bytes = static_cast<std::uint64_t>(vfs.f_bavail) * vfs.f_frsize;
  // 0 of 0: made as they are needed.
  if (vfs.f_files != 0) space.files = vfs.f_favail;
  apply_quota(space, quota_of(fd, USRQUOTA, ::geteuid()));
  struct stat st {};
  const bool hands_group_on = ::fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & S_ISGID) != 0;
  apply_quota(space, quota_of(fd, GRPQUOTA, hands_group_on ? st.st_gid : ::getegid()));
  return space;
}

std::string what_is_short(int errno_value, const std::filesystem::path& path) {
  if (errno_value == EDQUOT) {
    return std::string(std::strerror(errno_value)) +
           "; the disk may have more, but not for who writes there: free space or files, or have the quota raised";
  }
  // ENOSPC says this of files too: then freeing bytes does not help.
  struct statvfs vfs {};
  const bool no_files =
      ::statvfs(path.parent_path().c_str(), &vfs) == 0 && vfs.f_files != 0 && vfs.f_favail == 0 && vfs.f_bavail != 0;
  if (no_files) return "its file system has no inodes left for more files (df -i); remove files there";
  return std::string(std::strerror(errno_value)) + " (its file system is full)";
}

}  // namespace vaultfs::posix
