// Env::hold_directory: a directory of the real machine that is held open.
//
// Every name is looked up in a directory that is open, by itself and without following a link: so there is no path for
// others to bend. Directories stay open from their first use on.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <string_view>

#include "base/files/posix_file.h"
#include "base/thread/mutex.h"
#include "base/thread/pending_call.h"

namespace vaultfs::posix {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

class HeldDirectory final : public Env {
 public:
  HeldDirectory(FileDescriptor fd, Path root, std::uint32_t owner)
      : root_fd_(std::make_shared<FileDescriptor>(std::move(fd))),
        root_(std::move(root)),
        prefix_(root_ == "/" ? "/" : root_.native() + '/'),
        owner_(owner) {}

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    const PendingCallMark mark("opening", path);
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    const bool written = mode != OpenMode::read_only;
    VAULTFS_ASSIGN_OR_RETURN(FileDescriptor fd, open_file(place, open_flags(mode), path, written));
    return make_file(std::move(fd), path);
  }

  Status rename(const Path& from, const Path& to) override {
    const PendingCallMark mark("renaming", from);
    VAULTFS_ASSIGN_OR_RETURN(const Place source, find(from));
    VAULTFS_ASSIGN_OR_RETURN(const Place target, find(to));
    if (::renameat(source.at(), source.name.c_str(), target.at(), target.name.c_str()) != 0) {
      return system_error(errno, "cannot rename to", to);
    }
    let_go(from);
    let_go(to);
    return ok_status();
  }

  Status remove_file(const Path& path) override {
    const PendingCallMark mark("removing", path);
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    if (::unlinkat(place.at(), place.name.c_str(), 0) != 0) return system_error(errno, "cannot remove", path);
    return ok_status();
  }

  Status remove_directory(const Path& path) override {
    const PendingCallMark mark("removing", path);
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    if (::unlinkat(place.at(), place.name.c_str(), AT_REMOVEDIR) != 0) {
      return system_error(errno, "cannot remove", path);
    }
    let_go(path);
    return ok_status();
  }

  Status make_directory(const Path& path) override {
    const PendingCallMark mark("making", path);
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    if (::mkdirat(place.at(), place.name.c_str(), 0700) != 0) {
      return system_error(errno, "cannot make directory", path);
    }
    let_go(path);
    return ok_status();
  }

  Result<FileInfo> info(const Path& path) override {
    struct stat st {};
    if (path == root_) {
      if (::fstat(root_fd_->get(), &st) != 0) return system_error(errno, "cannot stat", path);
      return info_of(st);
    }
    const auto place = find(path);
    if (!place.ok() && place.code() == ErrorCode::NotFound) return FileInfo{};
    VAULTFS_RETURN_IF_ERROR(place);
    if (::fstatat(place->at(), place->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return FileInfo{};
      return system_error(errno, "cannot stat", path);
    }
    return info_of(st);
  }

  Result<std::vector<std::string>> list(const Path& directory) override {
    VAULTFS_ASSIGN_OR_RETURN(const Held held, hold_open(directory));
    // A description of its own: a duplicate would share the position with every other listing.
    FileDescriptor fd(::openat(held->get(), ".", kDirectoryFlags));
    if (!fd.valid()) return system_error(errno, "cannot list", directory);
    return list_descriptor(std::move(fd), directory);
  }

  Status sync_directory(const Path& directory) override {
    const PendingCallMark mark("syncing", directory);
    VAULTFS_ASSIGN_OR_RETURN(const Held held, hold_open(directory));
    if (::fsync(held->get()) != 0) return system_error(errno, "cannot sync", directory);
    return ok_status();
  }

  Result<std::uint64_t> free_bytes(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const FreeSpace space, free_space(path));
    return space.bytes;
  }

  Result<FreeSpace> free_space(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Held held, hold_open(path));
    return free_space_of(held->get(), path);
  }

  Result<std::unique_ptr<FileLock>> lock(const Path& path) override {
    return lock_named(path, O_RDWR | O_CREAT, false);
  }
  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override { return lock_named(path, O_RDONLY, true); }

  Result<Path> real_path(const Path& path) override { return posix_env().real_path(path); }

  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override {
    if (path == root_) {
      FileDescriptor again(::openat(root_fd_->get(), ".", kDirectoryFlags));
      if (!again.valid()) return system_error(errno, "cannot open", path);
      return hold(std::move(again), path);
    }
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    FileDescriptor fd(::openat(place.at(), place.name.c_str(), kDirectoryFlags));
    if (!fd.valid()) return no_directory(place, errno, path);
    return hold(std::move(fd), path);
  }

  void fill_random(MutableByteView out) override { posix_env().fill_random(out); }
  [[nodiscard]] const Clock& clock() const override { return posix_env().clock(); }

 private:
  using Held = std::shared_ptr<const FileDescriptor>;

  // A name in an open directory.
  struct Place {
    Held directory;
    std::string name;
    [[nodiscard]] int at() const { return directory->get(); }
  };

  static Error foreign(const Path& path, const std::string& what) {
    return Error{ErrorCode::ForeignFile, path.string() + " " + what +
                                             "; nobody follows or uses it: remove it, or put "
                                             "the vault's own file back"};
  }

  // Why a name can't be opened as a directory.
  static Error no_directory(const Place& place, int failed, const Path& path) {
    struct stat st {};
    const bool is_there = ::fstatat(place.at(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_there && !S_ISDIR(st.st_mode)) return foreign(path, "is not a directory of its own");
    return system_error(failed, "cannot open", path);
  }

  Result<std::string_view> below_root(const Path& path) const {
    const std::string_view text = path.native();
    if (!text.starts_with(prefix_))
      return Error{ErrorCode::InvalidName, path.string() + " is not in " + root_.string()};
    return text.substr(prefix_.size());
  }

  static bool is_plain(std::string_view name) { return !name.empty() && name != "." && name != ".."; }

  Result<Place> find(const Path& path) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string_view below, below_root(path));
    const std::size_t slash = below.rfind('/');
    const std::string_view name = slash == std::string_view::npos ? below : below.substr(slash + 1);
    if (!is_plain(name)) return Error{ErrorCode::InvalidName, path.string() + " names no file"};
    Place place{root_fd_, std::string(name)};
    if (slash != std::string_view::npos) {
      VAULTFS_ASSIGN_OR_RETURN(place.directory, hold_open(path.parent_path()));
    }
    return place;
  }

  // The directory, which stays open from now on.
  Result<Held> hold_open(const Path& path) {
    if (path == root_) return Held(root_fd_);
    {
      const MutexLock lock(mutex_);
      if (const auto found = held_.find(path.native()); found != held_.end()) return found->second;
    }
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    FileDescriptor fd(::openat(place.at(), place.name.c_str(), kDirectoryFlags));
    if (!fd.valid()) return no_directory(place, errno, path);
    const MutexLock lock(mutex_);
    // Of two that came at once the first stays: all go by the same directory.
    return held_.try_emplace(path.native(), std::make_shared<FileDescriptor>(std::move(fd))).first->second;
  }

  // This process has made, moved or removed what has the name.
  void let_go(const Path& path) {
    const MutexLock lock(mutex_);
    held_.erase(path.native());
  }

  Status check_own(const struct stat& st, const Path& path) const {
    if (st.st_nlink > 1) return foreign(path, "has another name besides, so that it may belong to something else");
    if (st.st_uid != ::geteuid() && st.st_uid != 0 && st.st_uid != owner_) {
      return foreign(path, "belongs to user " + std::to_string(st.st_uid));
    }
    return ok_status();
  }

  Result<FileDescriptor> open_file(const Place& place, int flags, const Path& path, bool written) const {
    FileDescriptor fd(::openat(place.at(), place.name.c_str(), flags, 0600));
    if (!fd.valid()) {
      // A link, a socket, a FIFO that nobody reads, a directory in the place of a file.
      const int failed = errno;
      struct stat other {};
      const bool is_there = ::fstatat(place.at(), place.name.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0;
      if ((flags & O_EXCL) == 0 && is_there && !S_ISREG(other.st_mode))
        return foreign(path, "is not a file of its own");
      return system_error(failed, "cannot open", path);
    }
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return system_error(errno, "cannot stat", path);
    if (!S_ISREG(st.st_mode)) return foreign(path, "is not a file");
    if (written && (flags & O_EXCL) == 0) VAULTFS_RETURN_IF_ERROR(check_own(st, path));
    return fd;
  }

  Result<std::unique_ptr<FileLock>> lock_named(const Path& path, int flags, bool shared) {
    constexpr int kAttempts = 100;
    VAULTFS_ASSIGN_OR_RETURN(const Place place, find(path));
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      VAULTFS_ASSIGN_OR_RETURN(FileDescriptor fd,
                               open_file(place, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, path, true));
      struct stat locked {};
      if (::fstat(fd.get(), &locked) != 0) return system_error(errno, "cannot stat", path);
      VAULTFS_ASSIGN_OR_RETURN(auto lock, lock_descriptor(std::move(fd), shared, path));
      // The lock of a file that has lost its name keeps nobody out.
      struct stat named {};
      const bool is_there = ::fstatat(place.at(), place.name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0;
      if (is_there && named.st_dev == locked.st_dev && named.st_ino == locked.st_ino) return lock;
    }
    return Error{ErrorCode::VaultBusy, path.string() + " is being replaced all the time"};
  }

  const std::shared_ptr<const FileDescriptor> root_fd_;
  const Path root_;
  const std::string prefix_;
  const std::uint32_t owner_;
  Mutex mutex_;                                          // a leaf, not held across I/O
  std::map<std::string, Held> held_ GUARDED_BY(mutex_);  // directories below root_ that were opened, by path
};

}  // namespace

Result<std::unique_ptr<Env>> hold(FileDescriptor fd, std::filesystem::path root) {
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return system_error(errno, "cannot stat", root);
  return std::unique_ptr<Env>(std::make_unique<HeldDirectory>(std::move(fd), std::move(root), st.st_uid));
}

}  // namespace vaultfs::posix
