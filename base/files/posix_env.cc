#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <utility>

#include "base/files/posix_file.h"
#include "base/machine_noise.h"

namespace vaultfs {
namespace {

using posix::system_error;

class SystemClock final : public Clock {
 public:
  [[nodiscard]] UnixNanos now() const override { return {read(CLOCK_REALTIME)}; }
  [[nodiscard]] std::int64_t monotonic_nanos() const override { return read(CLOCK_BOOTTIME); }

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
    // What people name for reading may be a link, or a chain of them (Kubernetes, NixOS): what is open is what is
    // looked at. Nothing is written through one.
    const int follow = mode == OpenMode::read_only ? O_NOFOLLOW : 0;
    FileDescriptor fd(::open(path.c_str(), posix::open_flags(mode) & ~follow, 0600));
    if (!fd.valid()) return system_error(errno, "cannot open", path);
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return system_error(errno, "cannot stat", path);
    if (!S_ISREG(st.st_mode)) return Error{ErrorCode::InvalidArgument, path.string() + " is not a regular file"};
    return posix::make_file(std::move(fd), path);
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
    return posix::info_of(st);
  }

  Result<std::vector<std::string>> list(const Path& directory) override {
    FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) return system_error(errno, "cannot list", directory);
    return posix::list_descriptor(std::move(fd), directory);
  }

  Status sync_directory(const Path& directory) override {
    const FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return system_error(errno, "cannot open", directory);
    if (::fsync(fd.get()) != 0) return system_error(errno, "cannot sync", directory);
    return ok_status();
  }

  Result<std::uint64_t> free_bytes(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const FreeSpace space, free_space(path));
    return space.bytes;
  }

  Result<FreeSpace> free_space(const Path& path) override {
    const FileDescriptor fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!fd.valid()) return system_error(errno, "cannot ask for the free space of", path);
    return posix::free_space_of(fd.get(), path);
  }

  Result<std::unique_ptr<FileLock>> lock(const Path& path) override {
    FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!fd.valid()) return system_error(errno, "cannot open", path);
    return posix::lock_descriptor(std::move(fd), false, path);
  }

  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd.valid()) return system_error(errno, "cannot open", path);
    return posix::lock_descriptor(std::move(fd), true, path);
  }

  Result<Path> real_path(const Path& path) override {
    std::error_code failed;
    const Path whole = std::filesystem::absolute(path, failed).lexically_normal();
    Path real = std::filesystem::canonical(whole, failed);
    if (!failed) return real;
    if (failed != std::errc::no_such_file_or_directory) return system_error(failed.value(), "cannot follow", path);
    // What is not there yet is as it would be made: below the directory that is.
    const Path plain = whole.has_filename() ? whole : whole.parent_path();
    real = std::filesystem::canonical(plain.parent_path(), failed);
    return failed ? plain : real / plain.filename();
  }

  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return system_error(errno, "cannot open", path);
    return posix::hold(std::move(fd), path);
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
