#include "fs/restore/restore_staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>

#include "base/files/unique_name.h"

namespace vaultfs {
namespace {

constexpr int kStagingFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Error no_staging() { return system_call_error(errno, "cannot restore into that directory"); }

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

// What the owner of a directory may not do with what is in it he may allow himself.
DirectoryStream open_for_removal(int parent, const char* name) {
  int fd = ::openat(parent, name, kStagingFlags);
  if (fd < 0 && errno == EACCES && ::fchmodat(parent, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
    fd = ::openat(parent, name, kStagingFlags);
  if (fd < 0) return nullptr;
  static_cast<void>(::fchmod(fd, 0700));
  DIR* stream = ::fdopendir(fd);
  if (stream == nullptr) ::close(fd);
  return DirectoryStream(stream);
}

// A tree is made flat: directories below its top are moved into the top, under names that are numbers, and removed when
// they are empty.
class TreeRemoval {
 public:
  TreeRemoval(int parent, const std::string& name) : top_(open_for_removal(parent, name.c_str())) {}

  void run() {
    if (top_ == nullptr) return;
    bool went_on = true;
    while (went_on) {
      went_on = false;
      ::rewinddir(top_.get());
      while (const struct dirent* entry = ::readdir(top_.get())) {
        if (is_dots(entry->d_name)) continue;
        const Outcome outcome = remove_at(fd(), entry->d_name);
        if (outcome == Outcome::removed || (outcome == Outcome::not_empty && empty(entry->d_name))) went_on = true;
      }
    }
  }

 private:
  static bool is_dots(std::string_view name) { return name == "." || name == ".."; }
  [[nodiscard]] int fd() const { return ::dirfd(top_.get()); }

  // What is kept is not ours to look into: a place where something is mounted, for one.
  enum class Outcome : std::uint8_t { removed, not_empty, kept };
  static Outcome remove_at(int directory, const char* name) {
    if (::unlinkat(directory, name, 0) == 0 || ::unlinkat(directory, name, AT_REMOVEDIR) == 0) return Outcome::removed;
    return errno == ENOTEMPTY || errno == EEXIST ? Outcome::not_empty : Outcome::kept;
  }

  // Removes the files of one directory and moves its directories up. Whether it changed anything.
  bool empty(const char* name) {
    const DirectoryStream directory = open_for_removal(fd(), name);
    if (directory == nullptr) return false;
    bool changed = false;
    while (const struct dirent* entry = ::readdir(directory.get())) {
      if (is_dots(entry->d_name)) continue;
      const int from = ::dirfd(directory.get());
      const Outcome outcome = remove_at(from, entry->d_name);
      if (outcome == Outcome::removed || (outcome == Outcome::not_empty && move_up(from, entry->d_name))) {
        changed = true;
      }
    }
    return changed;
  }

  bool move_up(int from, const char* name) {
    // Who may not write to a directory may not give it another parent. Whether that worked, the move tells.
    [[maybe_unused]] const int changed = ::fchmodat(from, name, 0700, AT_SYMLINK_NOFOLLOW);
    const std::string to = std::to_string(++moved_);
    if (::renameat2(from, name, fd(), to.c_str(), RENAME_NOREPLACE) == 0) return true;
    return errno == EEXIST && ::renameat2(from, name, fd(), unique_name(to + "-").c_str(), RENAME_NOREPLACE) == 0;
  }

  const DirectoryStream top_;
  std::uint64_t moved_ = 0;
};

}  // namespace

void remove_tree(int parent, const std::string& name) noexcept {
  TreeRemoval(parent, name).run();
  static_cast<void>(::unlinkat(parent, name.c_str(), AT_REMOVEDIR));
}

RestoreStaging::RestoreStaging(std::filesystem::path to)
    : to_(std::move(to)), name_(unique_name(".vaultfs-restore-")) {}

RestoreStaging::~RestoreStaging() {
  if (directory_.valid()) remove_tree(parent_.get(), name_);
}

Status RestoreStaging::make() {
  parent_ = FileDescriptor(::open(to_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent_.valid()) return system_call_error(errno, "cannot open " + to_.string());
  if (::mkdirat(parent_.get(), name_.c_str(), 0700) != 0) return no_staging();
  directory_ = FileDescriptor(::openat(parent_.get(), name_.c_str(), kStagingFlags));
  if (!directory_.valid()) return no_staging();
  for (const auto& [name, made] : {std::pair("tree", &tree_), std::pair("aside", &aside_)}) {
    if (::mkdirat(directory_.get(), name, 0700) != 0) return no_staging();
    *made = FileDescriptor(::openat(directory_.get(), name, kStagingFlags));
    if (!made->valid()) return no_staging();
  }
  try_out();
  return ok_status();
}

// Before the first byte: what fails at the end would fail after everything was written.
void RestoreStaging::try_out() {
  const int aside = aside_.get();
  symbolic_links_ = ::symlinkat("x", aside, "link") == 0;
  static_cast<void>(::unlinkat(aside, "link", 0));
  {
    const FileDescriptor file(::openat(aside, "one", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
    const FileDescriptor other(::openat(aside, "two", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  }
  hard_links_ = ::linkat(aside, "one", aside, "three", 0) == 0;
  static_cast<void>(::unlinkat(aside, "three", 0));
  rename_flags_ = ::renameat2(aside, "one", aside, "two", RENAME_EXCHANGE) == 0 &&
                  ::renameat2(aside, "one", aside, "three", RENAME_NOREPLACE) == 0;
  for (const char* name : {"one", "two", "three"}) static_cast<void>(::unlinkat(aside, name, 0));
}

Status RestoreStaging::check_size(std::uint64_t bytes) {
  const FileDescriptor file(::openat(aside_.get(), "size", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!file.valid()) return no_staging();
  const bool taken = ::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0;
  const Error error = system_call_error(
      errno, "the file system of " + to_.string() + " takes no file of " + std::to_string(bytes) + " bytes");
  static_cast<void>(::unlinkat(aside_.get(), "size", 0));
  return taken ? ok_status() : Status(error);
}

Status RestoreStaging::publish(const std::vector<DirectoryEntry>& entries, bool force) {
  const auto not_durable = [] { return system_call_error(errno, "cannot restore durably"); };
  if (::syncfs(directory_.get()) != 0) return not_durable();
  std::vector<std::pair<std::string, unsigned>> done;
  Status status = ok_status();
  for (const DirectoryEntry& entry : entries) {
    unsigned flags = RENAME_NOREPLACE;
    status = move(tree(), parent_.get(), entry.name, flags);
    if (!status.ok() && status.code() == ErrorCode::RefusedOverwrite && force) {
      flags = RENAME_EXCHANGE;
      status = move(tree(), parent_.get(), entry.name, flags);
    }
    if (!status.ok()) break;
    done.emplace_back(entry.name, flags);
  }
  if (status.ok() && ::fsync(parent_.get()) == 0) return status;
  if (status.ok()) status = not_durable();
  for (const auto& [name, flags] : done) static_cast<void>(move(parent_.get(), tree(), name, flags));
  return status;
}

Status RestoreStaging::move_plainly(int from, int to, const std::string& name, bool exchange) {
  const auto failed = [] { return system_call_error(errno, "cannot move a restored file to its place"); };
  struct stat st {};
  const bool is_there = ::fstatat(to, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (is_there && !exchange) {
    return Error{ErrorCode::RefusedOverwrite, (to_ / name).string() + " exists; name another directory or use --force"};
  }
  if (!is_there) return ::renameat(from, name.c_str(), to, name.c_str()) == 0 ? ok_status() : Status(failed());
  const char* const old = "old";
  if (::renameat(to, name.c_str(), directory_.get(), old) != 0) return failed();
  if (::renameat(from, name.c_str(), to, name.c_str()) != 0) {
    Error error = failed();
    static_cast<void>(::renameat(directory_.get(), old, to, name.c_str()));
    return error;
  }
  return ::renameat(directory_.get(), old, from, name.c_str()) == 0 ? ok_status() : Status(failed());
}

Status RestoreStaging::move(int from, int to, const std::string& name, unsigned flags) {
  if (!rename_flags_) return move_plainly(from, to, name, flags == RENAME_EXCHANGE);
  if (::renameat2(from, name.c_str(), to, name.c_str(), flags) == 0) return ok_status();
  if (errno != EEXIST) return system_call_error(errno, "cannot move a restored file to its place");
  return Error{ErrorCode::RefusedOverwrite, (to_ / name).string() + " exists; name another directory or use --force"};
}

}  // namespace vaultfs
