#include "fs/backup/source/file_use.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "base/files/file_descriptor.h"

namespace vaultfs {
namespace {

// qemu holds a shared lock on the byte for each right that its guest has (block/file-posix.c): 100 and the number of
// the right, of which writing is 1.
constexpr off_t kQemuMayWrite = 101;

// Whether somebody else's lock is in the way of one of that kind.
bool is_locked(int descriptor, short kind, off_t start, off_t length) {
  struct flock lock {};
  lock.l_type = kind;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// A lease for reading is only given where nobody has the file open for writing. It is taken for a moment, by an open
// file of its own, and its signal is one that is ignored by default.
bool is_open_for_writing(int descriptor) {
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  const FileDescriptor own(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!own.valid() || ::fcntl(own.get(), F_SETSIG, SIGURG) != 0) return false;
  if (::fcntl(own.get(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  static_cast<void>(::fcntl(own.get(), F_SETLEASE, F_UNLCK));
  return false;
}

// The kernel gives a device for exclusive use where it is not mounted, nor part of another device, nor used for
// swapping.
bool is_used_by_the_kernel(int descriptor) {
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  const FileDescriptor own(::open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
  return !own.valid() && errno == EBUSY;
}

bool is_read_only_device(int descriptor) {
  int read_only = 0;
  return ::ioctl(descriptor, BLKROGET, &read_only) == 0 && read_only != 0;
}

}  // namespace

std::string other_writer(int descriptor) {
  struct stat st {};
  if (::fstat(descriptor, &st) != 0) return "";
  if (S_ISBLK(st.st_mode)) {
    if (is_read_only_device(descriptor)) return "";
    if (is_used_by_the_kernel(descriptor)) return "mounted, or part of another device that is in use";
  } else if (is_open_for_writing(descriptor)) {
    return "open for writing in another process";
  }
  if (is_locked(descriptor, F_WRLCK, kQemuMayWrite, 1)) return "in use by a virtual machine";
  if (is_locked(descriptor, F_RDLCK, 0, 0)) return "locked by another process that writes it";
  return "";
}

std::string other_holder(int descriptor) {
  std::string writer = other_writer(descriptor);
  return writer.empty() ? other_lock(descriptor) : writer;
}

std::string other_lock(int descriptor) {
  return is_locked(descriptor, F_WRLCK, 0, 0) ? "locked by another process, as a virtual machine does" : "";
}

}  // namespace vaultfs
