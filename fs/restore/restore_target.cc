#include "fs/restore/restore_target.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/files/unique_name.h"
#include "fs/backup/source/device_content.h"
#include "fs/backup/source/file_use.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPageBytes = 4096;

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

Error taken(const std::filesystem::path& path) {
  return Error{ErrorCode::RefusedOverwrite, path.string() + " exists; name another target or use --force"};
}

}  // namespace

Status check_not_in_use(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  const std::string holder = file.valid() ? other_holder(file.get()) : "";
  if (holder.empty()) return ok_status();
  return Error{ErrorCode::ItemBusy, path.string() + " is " + holder +
                                        ", which would go on with the old content; end that first, or use "
                                        "--replace-open"};
}

Result<std::unique_ptr<RestoreTarget>> RestoreTarget::new_file(const std::filesystem::path& path, bool force,
                                                               std::uint64_t size_bytes, bool replace_open) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0) {
    if (S_ISDIR(st.st_mode)) return Error{ErrorCode::IsADirectory, path.string() + " is a directory"};
    if (!force) return taken(path);
    // Whoever asked has followed the links that were there; this one has come since.
    if (S_ISLNK(st.st_mode)) {
      return Error{ErrorCode::RefusedOverwrite, path.string() + " is a symbolic link; name what it leads to"};
    }
    if (!replace_open) VAULTFS_RETURN_IF_ERROR(check_not_in_use(path));
  } else if (errno != ENOENT) {
    return system_call_error(errno, "cannot look at " + path.string());
  }
  std::unique_ptr<RestoreTarget> target(new RestoreTarget);
  target->path_ = path;
  target->force_ = force;
  target->replace_open_ = replace_open;
  VAULTFS_RETURN_IF_ERROR(target->open_unnamed());
  if (::ftruncate(target->fd_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return system_call_error(errno, "cannot size " + path.string());
  }
  return target;
}

Status RestoreTarget::open_unnamed() {
  const std::filesystem::path directory = directory_of(path_);
  fd_ = FileDescriptor(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd_.valid()) return ok_status();
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return system_call_error(errno, "cannot make a file in " + directory.string());
  }
  // This file system has no files without a name.
  const std::filesystem::path temporary = directory / unique_name(".vaultfs-restore-");
  fd_ = FileDescriptor(::open(temporary.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_.valid()) return system_call_error(errno, "cannot make a file in " + directory.string());
  temporary_ = temporary;
  return ok_status();
}

Result<std::unique_ptr<RestoreTarget>> RestoreTarget::adopt_file(FileDescriptor fd, std::uint64_t size_bytes) {
  std::unique_ptr<RestoreTarget> target(new RestoreTarget);
  target->fd_ = std::move(fd);
  target->named_by_caller_ = true;
  if (::ftruncate(target->fd_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return system_call_error(errno, "cannot size a restored file");
  }
  return target;
}

Result<std::unique_ptr<RestoreTarget>> RestoreTarget::device(const std::filesystem::path& path, bool force,
                                                             std::uint64_t size_bytes, bool replace_open) {
  std::unique_ptr<RestoreTarget> target(new RestoreTarget);
  target->path_ = path;
  target->device_ = true;
  // O_EXCL on a block device: refused while it is mounted or part of another one.
  target->fd_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (!target->fd_.valid() && errno == EBUSY) {
    return Error{ErrorCode::ItemBusy, path.string() + " is mounted or otherwise in use; unmount it first"};
  }
  if (!target->fd_.valid()) return system_call_error(errno, "cannot open " + path.string());
  if (const std::string holder = other_lock(target->fd_.get()); !holder.empty() && !replace_open) {
    return Error{ErrorCode::ItemBusy, path.string() + " is " + holder + "; end that first, or use --replace-open"};
  }
  std::uint64_t device_bytes = 0;
  if (::ioctl(target->fd_.get(), BLKGETSIZE64, &device_bytes) != 0) {
    return system_call_error(errno, "cannot size " + path.string());
  }
  if (device_bytes < size_bytes) {
    return Error{ErrorCode::ShortDevice, path.string() + " has " + std::to_string(device_bytes) +
                                             " bytes, the disk needs " + std::to_string(size_bytes)};
  }
  if (!force) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string content, content_of_device(target->fd_.get()));
    if (!content.empty()) {
      return Error{ErrorCode::RefusedOverwrite,
                   "on " + path.string() + " there is " + content +
                       ", which the restore would destroy; name another device, or use --force"};
    }
  }
  return target;
}

RestoreTarget::~RestoreTarget() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status RestoreTarget::write_all(std::uint64_t offset, ByteView bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_call_error(errno, "cannot write the restored disk");
    done += static_cast<std::size_t>(n);
  }
  return ok_status();
}

Result<std::uint64_t> RestoreTarget::write(std::uint64_t offset, ByteView content) {
  std::uint64_t written = 0;
  std::size_t at = 0;
  const auto page_at = [&](std::size_t start) {
    return content.subspan(start, std::min(kPageBytes, content.size() - start));
  };
  while (at < content.size()) {
    if (!device_ && is_all_zero(page_at(at))) {
      at += page_at(at).size();
      continue;
    }
    std::size_t end = at + page_at(at).size();
    while (end < content.size() && (device_ || !is_all_zero(page_at(end)))) end += page_at(end).size();
    VAULTFS_RETURN_IF_ERROR(write_all(offset + at, content.subspan(at, end - at)));
    written += end - at;
    at = end;
  }
  // Lets the medium begin now, so that the sync at the end has little left. Only a hint.
  static_cast<void>(::sync_file_range(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(content.size()),
                                      SYNC_FILE_RANGE_WRITE));
  return written;
}

Status RestoreTarget::clear(std::uint64_t offset, std::uint64_t length) {
  if (!device_) return ok_status();
  std::array<std::uint64_t, 2> range{offset, length};
  if (::ioctl(fd_.get(), BLKZEROOUT, range.data()) == 0) return ok_status();
  // Refused for a range that does not fill whole sectors, or by the driver.
  const Bytes zeros(std::min<std::uint64_t>(length, 1U << 20));
  for (std::uint64_t done = 0; done < length;) {
    const std::size_t piece = std::min<std::uint64_t>(zeros.size(), length - done);
    VAULTFS_RETURN_IF_ERROR(write_all(offset + done, ByteView(zeros).first(piece)));
    done += piece;
  }
  return ok_status();
}

Status RestoreTarget::sync() {
  if (::fsync(fd_.get()) != 0) return system_call_error(errno, "cannot sync the restored disk");
  return ok_status();
}

Status RestoreTarget::start_reading_back() {
  back_ = FileDescriptor(::open(fd_.proc_path().c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  direct_ = back_.valid();
  if (!direct_) back_ = FileDescriptor(::open(fd_.proc_path().c_str(), O_RDONLY | O_CLOEXEC));
  if (!back_.valid()) return system_call_error(errno, "cannot read back the restored disk");
  if (!direct_) static_cast<void>(::posix_fadvise(back_.get(), 0, 0, POSIX_FADV_DONTNEED));
  return ok_status();
}

Status RestoreTarget::read_back(std::uint64_t offset, std::size_t length, MutableByteView buffer) {
  // Direct I/O reads whole blocks; at the end of the file the kernel stops by itself.
  const std::size_t wanted = direct_ ? (length + kAlignment - 1) / kAlignment * kAlignment : length;
  std::size_t done = 0;
  while (done < length) {
    const ssize_t n = ::pread(back_.get(), buffer.data() + done, wanted - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EINVAL && direct_) {
      // Larger sectors than the alignment, or no direct I/O after all: through the cache, emptied before.
      FileDescriptor cached(::open(fd_.proc_path().c_str(), O_RDONLY | O_CLOEXEC));
      if (!cached.valid()) return system_call_error(errno, "cannot read back the restored disk");
      static_cast<void>(
          ::posix_fadvise(cached.get(), static_cast<off_t>(offset), static_cast<off_t>(wanted), POSIX_FADV_DONTNEED));
      const ssize_t again =
          ::pread(cached.get(), buffer.data() + done, length - done, static_cast<off_t>(offset + done));
      if (again <= 0) return Error{ErrorCode::RestoreMismatch, "the restored disk could not be read back"};
      done += static_cast<std::size_t>(again);
      continue;
    }
    if (n < 0) return system_call_error(errno, "cannot read back the restored disk");
    if (n == 0) return Error{ErrorCode::RestoreMismatch, "the restored disk is shorter than what was written"};
    done += static_cast<std::size_t>(n);
  }
  return ok_status();
}

std::uint64_t RestoreTarget::next_data(std::uint64_t offset, std::uint64_t end) const {
  if (device_) return offset;
  const off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? end : offset;
  return std::min(static_cast<std::uint64_t>(data), end);
}

Status RestoreTarget::publish_unnamed() {
  const std::string from = fd_.proc_path();
  if (!force_) {
    if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) return ok_status();
    return errno == EEXIST ? taken(path_) : system_call_error(errno, "cannot name " + path_.string());
  }
  const std::filesystem::path temporary = directory_of(path_) / unique_name(".vaultfs-restore-");
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return system_call_error(errno, "cannot name " + path_.string());
  }
  temporary_ = temporary;
  return ok_status();
}

// As RENAME_NOREPLACE, where the file system does not know that.
Status RestoreTarget::name_without_flags() {
  if (::linkat(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), 0) == 0) {
    static_cast<void>(::unlink(temporary_.c_str()));
    return ok_status();
  }
  if (errno == EEXIST) return taken(path_);
  // No hard links either: a file that comes just now is replaced.
  struct stat st {};
  if (::lstat(path_.c_str(), &st) == 0) return taken(path_);
  if (::rename(temporary_.c_str(), path_.c_str()) == 0) return ok_status();
  return system_call_error(errno, "cannot name " + path_.string());
}

Status RestoreTarget::publish() {
  if (device_ || named_by_caller_) return ok_status();
  if (force_ && !replace_open_) VAULTFS_RETURN_IF_ERROR(check_not_in_use(path_));
  const bool unnamed = temporary_.empty();
  if (unnamed) VAULTFS_RETURN_IF_ERROR(publish_unnamed());
  if (!temporary_.empty()) {
    const unsigned flags = force_ ? 0U : static_cast<unsigned>(RENAME_NOREPLACE);
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0) {
      if (errno == EEXIST) return taken(path_);
      const bool knows_no_flags = !force_ && (errno == EINVAL || errno == ENOSYS);
      if (!knows_no_flags) return system_call_error(errno, "cannot name " + path_.string());
      VAULTFS_RETURN_IF_ERROR(name_without_flags());
    }
    temporary_.clear();
  }
  const FileDescriptor directory(::open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) {
    return system_call_error(errno, "cannot sync the directory of " + path_.string());
  }
  return ok_status();
}

}  // namespace vaultfs
