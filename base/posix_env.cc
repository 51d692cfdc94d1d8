#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/env.h"
#include "base/machine_noise.h"

namespace vaultfs {
namespace {

Error system_error(int errno_value, const std::string& what, const std::filesystem::path& path) {
  return Error{error_from_errno(errno_value), what + " " + path.string() + ": " + std::strerror(errno_value)};
}

class UniqueFd {
 public:
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  UniqueFd& operator=(UniqueFd&&) = delete;
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

FileInfo info_of(const struct stat& st) {
  FileInfo info;
  info.kind = S_ISREG(st.st_mode) ? FileKind::file : S_ISDIR(st.st_mode) ? FileKind::directory : FileKind::other;
  info.size = static_cast<std::uint64_t>(st.st_size);
  info.mode = st.st_mode & 07777U;
  info.owner = st.st_uid;
  return info;
}

class PosixFile final : public File {
 public:
  PosixFile(UniqueFd fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
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

  Status sync() override {
    if (::fdatasync(fd_.get()) != 0) return system_error(errno, "cannot sync", path_);
    return ok_status();
  }

  Status truncate(std::uint64_t size) override {
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
  UniqueFd fd_;
  std::filesystem::path path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  UniqueFd fd_;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] UnixNanos now() const override { return {read(CLOCK_REALTIME)}; }
  [[nodiscard]] std::int64_t monotonic_nanos() const override { return read(CLOCK_MONOTONIC); }

 private:
  static std::int64_t read(clockid_t id) {
    struct timespec ts {};
    ::clock_gettime(id, &ts);
    return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
  }
};

class PosixEnv final : public Env {
 public:
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    // O_NONBLOCK changes nothing for regular files, and opening a FIFO in the place of one can't hang.
    int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    if (mode == OpenMode::read_only) flags |= O_RDONLY;
    if (mode == OpenMode::read_write) flags |= O_RDWR;
    if (mode == OpenMode::create_exclusive) flags |= O_RDWR | O_CREAT | O_EXCL;
    UniqueFd fd(::open(path.c_str(), flags, 0600));
    if (fd.get() < 0) return system_error(errno, "cannot open", path);
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return system_error(errno, "cannot stat", path);
    if (!S_ISREG(st.st_mode)) return Error{ErrorCode::InvalidArgument, path.string() + " is not a regular file"};
    return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), path));
  }

  Status rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return system_error(errno, "cannot rename to", to);
    return ok_status();
  }

  Status remove_file(const Path& path) override {
    if (::unlink(path.c_str()) != 0) return system_error(errno, "cannot remove", path);
    return ok_status();
  }

  Status remove_directory(const Path& path) override {
    if (::rmdir(path.c_str()) != 0) return system_error(errno, "cannot remove", path);
    return ok_status();
  }

  Status make_directory(const Path& path) override {
    if (::mkdir(path.c_str(), 0700) != 0) return system_error(errno, "cannot make directory", path);
    return ok_status();
  }

  Result<FileInfo> info(const Path& path) override {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return FileInfo{};
      return system_error(errno, "cannot stat", path);
    }
    return info_of(st);
  }

  Result<std::vector<std::string>> list(const Path& directory) override {
    DIR* dir = ::opendir(directory.c_str());
    if (dir == nullptr) return system_error(errno, "cannot list", directory);
    std::vector<std::string> names;
    errno = 0;
    while (const struct dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    const int list_errno = errno;
    ::closedir(dir);
    if (list_errno != 0) return system_error(list_errno, "cannot list", directory);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status sync_directory(const Path& directory) override {
    const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return system_error(errno, "cannot open", directory);
    if (::fsync(fd.get()) != 0) return system_error(errno, "cannot sync", directory);
    return ok_status();
  }

  Result<std::uint64_t> free_bytes(const Path& path) override {
    struct statvfs vfs {};
    if (::statvfs(path.c_str(), &vfs) != 0) return system_error(errno, "cannot ask for the free space of", path);
    return static_cast<std::uint64_t>(vfs.f_bavail) * vfs.f_frsize;
  }

  Result<std::unique_ptr<FileLock>> lock(const Path& path) override {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return system_error(errno, "cannot open", path);
    // flock belongs to the open file description, so it survives a daemon's fork and ends with its last holder.
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return Error{ErrorCode::VaultBusy, path.string() + " is held by another process"};
      return system_error(errno, "cannot lock", path);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(fd)));
  }

  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd.get() < 0) return system_error(errno, "cannot open", path);
    if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return Error{ErrorCode::VaultBusy, path.string() + " is held by another process"};
      return system_error(errno, "cannot lock", path);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(fd)));
  }

  void fill_random(MutableByteView out) override {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::getrandom(out.data() + done, out.size() - done, 0);
      if (n < 0) {
        if (errno == EINTR) continue;
        std::abort();
      }
      done += static_cast<std::size_t>(n);
    }
    mix_in_machine_noise(out);
  }

  [[nodiscard]] const Clock& clock() const override { return system_clock(); }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

Env& posix_env() {
  static PosixEnv env;
  return env;
}

}  // namespace vaultfs
