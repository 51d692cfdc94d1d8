#include "base/files/posix_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/thread/pending_call.h"

namespace vaultfs::posix {

Error system_error(int errno_value, const std::string& what, const std::filesystem::path& path) {
  const bool is_short = errno_value == ENOSPC || errno_value == EDQUOT;
  return Error{error_from_errno(errno_value),
               what + " " + path.string() + ": " +
                   (is_short ? what_is_short(errno_value, path) : std::string(std::strerror(errno_value)))};
}

FileInfo info_of(const struct stat& st) {
  FileInfo info;
  info.kind = S_ISREG(st.st_mode) ? FileKind::file : S_ISDIR(st.st_mode) ? FileKind::directory : FileKind::other;
  info.size = static_cast<std::uint64_t>(st.st_size);
  info.mode = st.st_mode & 07777U;
  info.owner = st.st_uid;
  info.device = st.st_dev;
  info.inode = st.st_ino;
  info.links = static_cast<std::uint32_t>(st.st_nlink);
  constexpr std::uint64_t kUnitOfStat = 512;
  info.stored_bytes = static_cast<std::uint64_t>(st.st_blocks) * kUnitOfStat;
  return info;
}

namespace {

class PosixFile final : public File {
 public:
  PosixFile(FileDescriptor fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    const PendingCallMark mark("reading", path_);
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return system_error(errno, "cannot read", path_);
      }
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  Status write_at(std::uint64_t offset, ByteView bytes) override {
    const PendingCallMark mark("writing", path_);
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n =
          ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return system_error(errno, "cannot write", path_);
      }
      if (n == 0) return system_error(EIO, "cannot write", path_);
      done += static_cast<std::size_t>(n);
    }
    return ok_status();
  }

  Status allocate(std::uint64_t size) override {
    const PendingCallMark mark("setting room aside for", path_);
    while (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return system_error(errno, "cannot set room aside for", path_);
    }
    return ok_status();
  }

  Status sync() override {
    const PendingCallMark mark("syncing", path_);
    if (::fdatasync(fd_.get()) != 0) return system_error(errno, "cannot sync", path_);
    return ok_status();
  }

  Status truncate(std::uint64_t size) override {
    const PendingCallMark mark("truncating", path_);
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return system_error(errno, "cannot truncate", path_);
    return ok_status();
  }

  Result<std::uint64_t> size() override {
    struct stat st {};
    if (::fstat(fd_.get(), &st) != 0) return system_error(errno, "cannot stat", path_);
    return static_cast<std::uint64_t>(st.st_size);
  }

  Result<FileInfo> info() override {
    struct stat st {};
    if (::fstat(fd_.get(), &st) != 0) return system_error(errno, "cannot stat", path_);
    return info_of(st);
  }

 private:
  FileDescriptor fd_;
  std::filesystem::path path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(FileDescriptor fd) : fd_(std::move(fd)) {}

 private:
  FileDescriptor fd_;
};

}  // namespace

int open_flags(OpenMode mode) {
  // O_NONBLOCK changes nothing for regular files.
  const int common = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  switch (mode) {
    case OpenMode::read_only:
      return common | O_RDONLY;
    case OpenMode::read_write:
      return common | O_RDWR;
    case OpenMode::create_exclusive:
      return common | O_RDWR | O_CREAT | O_EXCL;
  }
  return common;
}

std::unique_ptr<File> make_file(FileDescriptor fd, std::filesystem::path path) {
  return std::make_unique<PosixFile>(std::move(fd), std::move(path));
}

Result<std::unique_ptr<FileLock>> lock_descriptor(FileDescriptor fd, bool shared, const std::filesystem::path& path) {
  // flock belongs to the open file description, so it survives a daemon's fork and ends with its last holder.
  if (::flock(fd.get(), (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Error{ErrorCode::VaultBusy, path.string() + " is held by another process"};
    return system_error(errno, "cannot lock", path);
  }
  return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(fd)));
}

Result<std::vector<std::string>> list_descriptor(FileDescriptor fd, const std::filesystem::path& path) {
  // fdopendir takes the descriptor over, so it gets one of its own.
  const int own = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
  DIR* dir = own < 0 ? nullptr : ::fdopendir(own);
  if (dir == nullptr) {
    const int failed = errno;
    if (own >= 0) ::close(own);
    return system_error(failed, "cannot list", path);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const struct dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  const int list_errno = errno;
  ::closedir(dir);
  if (list_errno != 0) return system_error(list_errno, "cannot list", path);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vaultfs::posix
