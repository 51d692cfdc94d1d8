#include "fs/mount/own_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

namespace vaultfs {

int run_system_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): execvp writes to none of them; the type is C's
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return -1;
  if (child == 0) {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, standard);
    // Not the mask of whichever thread this was.
    sigset_t none{};
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Result<OwnMount> OwnMount::at(const std::filesystem::path& point, const std::string& source) {
  const std::vector<MountEntry> table = mount_table();
  for (auto entry = table.rbegin(); entry != table.rend(); ++entry) {
    const bool own = entry->point == point.native() && entry->type == "fuse.vaultfs" && entry->source == source;
    if (own && !is_covered(table, *entry)) return OwnMount(entry->id, entry->device);
  }
  return Error{ErrorCode::IoError,
               "the mount on " + point.string() + " is not in /proc/self/mountinfo; is /proc there?"};
}

Result<std::string> OwnMount::free_point() const {
  const std::vector<MountEntry> table = mount_table();
  const auto own = std::ranges::find_if(
      table, [this](const MountEntry& entry) { return entry.id == id_ && entry.device == device_; });
  if (own == table.end()) return std::string();
  if (!is_covered(table, *own)) return own->point;
  return Error{ErrorCode::MountPointBusy,
               own->point + ": another file system is mounted over it; unmount that one first"};
}

Status OwnMount::unmount() const {
  VAULTFS_ASSIGN_OR_RETURN(const std::string point, free_point());
  if (point.empty()) return ok_status();
  if (::umount2(point.c_str(), UMOUNT_NOFOLLOW) == 0) {
    // Takes back the entry in umount(8)'s own table, and touches no mount.
    static_cast<void>(run_system_program({"umount", "--fake", "-i", "-c", "--", point}));
    return ok_status();
  }
  const int failed = errno;
  if (failed == EPERM && run_system_program({"fusermount3", "-u", "-q", "--", point}) == 0) return ok_status();
  return Error{ErrorCode::MountPointBusy, point + ": " + std::strerror(failed)};
}

void OwnMount::detach() const {
  const auto point = free_point();
  if (!point.ok() || point->empty()) return;
  if (::umount2(point->c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) {
    static_cast<void>(run_system_program({"umount", "--fake", "-i", "-c", "--", *point}));
  } else if (errno == EPERM) {
    static_cast<void>(run_system_program({"fusermount3", "-u", "-q", "-z", "--", *point}));
  }
}

}  // namespace vaultfs
