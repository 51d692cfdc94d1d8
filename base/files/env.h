#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace vaultfs {

enum class FileKind : std::uint8_t { missing, file, directory, other };

struct FileInfo {
  FileKind kind = FileKind::missing;
  std::uint64_t size = 0;
  std::uint32_t mode = 0;    // permission bits
  std::uint32_t owner = 0;   // user id
  std::uint64_t device = 0;  // with `inode`: which file it is, whatever its name
  std::uint64_t inode = 0;
  std::uint32_t links = 1;         // names that it has
  std::uint64_t stored_bytes = 0;  // that it takes on the disk: without its holes
  // Whether both are of one file or directory.
  [[nodiscard]] bool is_same_as(const FileInfo& other) const {
    return kind != FileKind::missing && kind == other.kind && device == other.device && inode == other.inode;
  }
};

// An open file with positional I/O. Thread-safe: calls from several threads may overlap.
class File {
 public:
  virtual ~File() = default;
  // Reads up to out.size() bytes at `offset`; fewer only at the end of the file.
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) = 0;
  // Writes all of `bytes` or fails. Durable only after sync().
  [[nodiscard]] virtual Status write_at(std::uint64_t offset, ByteView bytes) = 0;
  // As write_at(), of what can be done without: nothing else is given up to make room for it.
  [[nodiscard]] virtual Status write_if_room(std::uint64_t offset, ByteView bytes) { return write_at(offset, bytes); }
  // Makes the file at least `size` bytes long and takes the room for them on the disk. NotSupported where the file
  // system has no such call; one that has it may still take nothing (FileInfo::stored_bytes tells).
  [[nodiscard]] virtual Status allocate(std::uint64_t /*size*/) {
    return Error{ErrorCode::NotSupported, "this file system sets no room aside"};
  }
  // Makes data and size durable (fdatasync). After a failure the data must be taken as lost.
  [[nodiscard]] virtual Status sync() = 0;
  [[nodiscard]] virtual Status truncate(std::uint64_t size) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
  // Of the file that is open, whatever has its name by now.
  [[nodiscard]] virtual Result<FileInfo> info() = 0;
};

enum class OpenMode : std::uint8_t {
  read_only,
  read_write,        // must exist
  create_exclusive,  // must not exist; mode 0600
};

// What an unprivileged writer can still store somewhere, as far as the machine can tell: a quota on a file server, or
// of a subvolume, is found out only by who hits it.
struct FreeSpace {
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t bytes = 0;
  std::uint64_t files = kNoLimit;  // inodes that are left
  bool bytes_by_quota = false;     // it is a quota that leaves no more
  bool files_by_quota = false;
};

// A held advisory lock on a file; released by destruction or by the end of the process.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// All the engine asks of the machine: files, randomness, time. Replaced by a simulation in tests. Thread-safe.
class Env {
 public:
  using Path = std::filesystem::path;
  virtual ~Env() = default;

  [[nodiscard]] virtual Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) = 0;
  // Replaces `to` if it exists. Durable after sync_directory of the parent(s).
  [[nodiscard]] virtual Status rename(const Path& from, const Path& to) = 0;
  [[nodiscard]] virtual Status remove_file(const Path& path) = 0;
  [[nodiscard]] virtual Status remove_directory(const Path& path) = 0;  // must be empty
  [[nodiscard]] virtual Status make_directory(const Path& path) = 0;    // mode 0700; AlreadyExists if there
  [[nodiscard]] virtual Result<FileInfo> info(const Path& path) = 0;    // a missing path is FileKind::missing, no error
  // The names in a directory without "." and "..", sorted.
  [[nodiscard]] virtual Result<std::vector<std::string>> list(const Path& directory) = 0;
  // Makes creations, renames and removals in the directory durable.
  [[nodiscard]] virtual Status sync_directory(const Path& directory) = 0;
  // Bytes an unprivileged writer can still store where `path` is: those of free_space().
  [[nodiscard]] virtual Result<std::uint64_t> free_bytes(const Path& path) = 0;
  [[nodiscard]] virtual Result<FreeSpace> free_space(const Path& path) {
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t bytes, free_bytes(path));
    FreeSpace space;
    space.bytes = bytes;
    return space;
  }
  // After a NoSpace at `path`: true if something was given up by which the same may succeed now.
  [[nodiscard]] virtual bool make_room(const Path& /*path*/) { return false; }
  // Takes the exclusive lock of a file (made if missing), or VaultBusy at once if another process has it.
  [[nodiscard]] virtual Result<std::unique_ptr<FileLock>> lock(const Path& path) = 0;
  // Takes a lock of an existing file that others may share, but not with a holder of lock(); VaultBusy if it is held.
  [[nodiscard]] virtual Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) = 0;
  // The path made absolute, with every link in it followed. What is missing is taken as it would be made.
  [[nodiscard]] virtual Result<Path> real_path(const Path& path) = 0;
  // Opens a directory once, not through a link (NotADirectory), and gives an Env for what is in it. That one takes the
  // same paths, which begin with `path` (others are InvalidName), but goes by the open directory and by those in it
  // that it has opened before: whatever takes their names later is not touched. There
  //   - no name is a link that would be followed: what is no file or directory of its own is ForeignFile, and so is
  //     opening for writing, or locking, a file that has more names or that belongs to neither this user, nor root, nor
  //     the owner of the directory;
  //   - info() tells of a link itself, as FileKind::other; of `path` itself it tells what is open;
  //   - lock() and lock_shared() give the lock of the file that has the name.
  // The Env that it came from must outlive it.
  [[nodiscard]] virtual Result<std::unique_ptr<Env>> hold_directory(const Path& path) = 0;
  // Cryptographically strong bytes (getrandom); aborts if the kernel gives none.
  virtual void fill_random(MutableByteView out) = 0;
  [[nodiscard]] virtual const Clock& clock() const = 0;
};

// The real machine.
[[nodiscard]] Env& posix_env();

// Reads a whole file of at most `limit` bytes (InvalidArgument beyond).
[[nodiscard]] Result<Bytes> read_file(Env& env, const Env::Path& path, std::uint64_t limit);
// The same of a file that is open; `path` is for the message.
[[nodiscard]] Result<Bytes> read_file(File& file, const Env::Path& path, std::uint64_t limit);

// Writes a new file so that after success it is durable under `path` with all its bytes, and after a crash it is either
// whole or absent: PATH.tmp (gone after a failure), sync, rename, sync of the directory. `path` is replaced as a whole.
[[nodiscard]] Status write_file_durably(Env& env, const Env::Path& path, ByteView bytes);

// A random id, never all zero.
template <typename Id>
[[nodiscard]] Id random_id(Env& env) {
  Id id;
  do env.fill_random(id.mutable_view());
  while (id.is_zero());
  return id;
}

}  // namespace vaultfs
