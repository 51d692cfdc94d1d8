#include "fs/restore/restore_attributes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/clock.h"
#include "base/files/file_descriptor.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kSetId = S_ISUID | S_ISGID;

Error not_restored(const char* what) { return system_call_error(errno, std::string("cannot restore ") + what); }

// What the user may not do, or the file system there does not know (EINVAL: a user that this namespace has not).
bool is_beyond_it() { return errno == EPERM || errno == EACCES || errno == EOPNOTSUPP || errno == EINVAL; }

struct timespec timespec_of_time(UnixNanos time) {
  struct timespec out {};
  out.tv_sec = time.value / kNanosPerSecond;
  out.tv_nsec = time.value % kNanosPerSecond;
  if (out.tv_nsec < 0) {
    out.tv_nsec += kNanosPerSecond;
    --out.tv_sec;
  }
  return out;
}

// A name in a directory, or with an empty name the open file itself.
struct Place {
  int descriptor;
  const std::string& name;

  // There is no lsetxattrat before Linux 6.13: the descriptor stands for its path.
  [[nodiscard]] std::string path() const {
    const std::string here = "/proc/self/fd/" + std::to_string(descriptor);
    return name.empty() ? here : here + "/" + name;
  }
  [[nodiscard]] int chown(uid_t uid, gid_t gid) const {
    return ::fchownat(descriptor, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0));
  }
  [[nodiscard]] int chmod(mode_t mode) const {
    return name.empty() ? ::fchmod(descriptor, mode) : ::fchmodat(descriptor, name.c_str(), mode, 0);
  }
  [[nodiscard]] int set_times(const struct timespec* times) const {
    return name.empty() ? ::futimens(descriptor, times)
                        : ::utimensat(descriptor, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
  [[nodiscard]] int set_extended(const std::string& attribute, const Bytes& value) const {
    if (name.empty()) return ::fsetxattr(descriptor, attribute.c_str(), value.data(), value.size(), 0);
    return ::lsetxattr(path().c_str(), attribute.c_str(), value.data(), value.size(), 0);
  }
};

// After the owner: chown takes file capabilities. Before the mode: an access list sets its bits too.
Status restore_extended(FileTree& tree, const Place& place, InodeNumber inode, RestoreOutcome& outcome) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, tree.extended_names(inode));
  for (const std::string& attribute : names) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes value, tree.extended_attribute(inode, attribute));
    if (place.set_extended(attribute, value) == 0) continue;
    if (!is_beyond_it() && errno != ENOSPC && errno != E2BIG) return not_restored("an extended attribute");
    ++outcome.lost_attributes;
  }
  return ok_status();
}

// In this order: a chown clears set-id bits, everything sets times.
Status restore_at(FileTree& tree, const Place& place, const Attributes& attributes, RestoreOutcome& outcome) {
  std::uint32_t mode = attributes.mode & 07777U;
  if (place.chown(attributes.uid, attributes.gid) != 0) {
    if (!is_beyond_it()) return not_restored("an owner");
    ++outcome.lost_owners;
    mode &= ~kSetId;
    // Who may not give it away may still be in its group.
    static_cast<void>(place.chown(static_cast<uid_t>(-1), attributes.gid));
  }
  VAULTFS_RETURN_IF_ERROR(restore_extended(tree, place, attributes.number, outcome));
  if (attributes.type != InodeType::symlink && place.chmod(mode) != 0) {
    if (!is_beyond_it()) return not_restored("a mode");
    ++outcome.lost_modes;
  }
  const std::array<struct timespec, 2> times{timespec_of_time(attributes.atime), timespec_of_time(attributes.mtime)};
  if (place.set_times(times.data()) != 0) {
    if (!is_beyond_it()) return not_restored("a time");
    ++outcome.lost_modes;
  }
  return ok_status();
}

}  // namespace

Status restore_attributes(FileTree& tree, int parent, const std::string& name, const Attributes& attributes,
                          RestoreOutcome& outcome) {
  return restore_at(tree, {parent, name}, attributes, outcome);
}

Status restore_attributes(FileTree& tree, int file, const Attributes& attributes, RestoreOutcome& outcome) {
  static const std::string no_name;
  return restore_at(tree, {file, no_name}, attributes, outcome);
}

}  // namespace vaultfs
