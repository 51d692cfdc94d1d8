#include "fs/restore_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <map>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "fs/file_descriptor.h"
#include "fs/restore_file.h"
#include "fs/unique_name.h"

namespace vaultfs {
namespace {

Error failed(const char* what) { return system_call_error(errno, std::string("cannot restore ") + what); }

struct timespec timespec_of(UnixNanos time) {
  struct timespec out {};
  out.tv_sec = time.value / kNanosPerSecond;
  out.tv_nsec = time.value % kNanosPerSecond;
  if (out.tv_nsec < 0) {
    out.tv_nsec += kNanosPerSecond;
    --out.tv_sec;
  }
  return out;
}

mode_t node_type(InodeType type) {
  switch (type) {
    case InodeType::fifo:
      return S_IFIFO;
    case InodeType::socket:
      return S_IFSOCK;
    case InodeType::character_device:
      return S_IFCHR;
    case InodeType::block_device:
      return S_IFBLK;
    case InodeType::file:
    case InodeType::directory:
    case InodeType::symlink:
      break;
  }
  return S_IFREG;
}

// The manifest is authenticated, but it comes from another machine and time: no name may lead out of its directory.
Status check_entry_name(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return Error{ErrorCode::DamagedManifest, "the recovery point has a file name that cannot be restored"};
  }
  return ok_status();
}

// Extended attributes of `name`; what the file system there does not keep is left out and counted. After the owner:
// chown takes file capabilities. Before the mode: an access list sets its bits too.
Status set_extended(FileTree& tree, int parent, const std::string& name, InodeNumber inode, RestoreOutcome& outcome) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, tree.extended_names(inode));
  if (names.empty()) return ok_status();
  // There is no lsetxattrat before Linux 6.13: the directory's descriptor stands for its path.
  const std::string path = "/proc/self/fd/" + std::to_string(parent) + "/" + name;
  for (const std::string& attribute : names) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes value, tree.extended_attribute(inode, attribute));
    if (::lsetxattr(path.c_str(), attribute.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno != EOPNOTSUPP && errno != EPERM && errno != ENOSPC && errno != E2BIG)
      return failed("an extended attribute");
    ++outcome.lost_attributes;
  }
  return ok_status();
}

// Owner, extended attributes, mode and times, in this order: a chown clears set-id bits, everything sets times.
Status set_attributes(FileTree& tree, int parent, const std::string& name, const Attributes& attributes,
                      RestoreOutcome& outcome) {
  if (::fchownat(parent, name.c_str(), attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW) != 0)
    return failed("an owner");
  VAULTFS_RETURN_IF_ERROR(set_extended(tree, parent, name, attributes.number, outcome));
  if (attributes.type != InodeType::symlink && ::fchmodat(parent, name.c_str(), attributes.mode & 07777U, 0) != 0) {
    return failed("a mode");
  }
  const std::array<struct timespec, 2> times{timespec_of(attributes.atime), timespec_of(attributes.mtime)};
  if (::utimensat(parent, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) return failed("a time");
  return ok_status();
}

class TreeRestore {
 public:
  TreeRestore(Vault& vault, FileTree& tree, ProgressMeter& progress, RestoreOutcome& outcome)
      : vault_(vault), tree_(tree), progress_(progress), outcome_(outcome) {}

  Status fill(int directory, InodeNumber inode, const std::string& path) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree_.list(inode));
    for (const DirectoryEntry& entry : entries) {
      VAULTFS_RETURN_IF_ERROR(check_entry_name(entry.name));
      VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree_.attributes(entry.number));
      VAULTFS_RETURN_IF_ERROR(make(directory, entry.name, attributes, path + "/" + entry.name));
    }
    return ok_status();
  }

  void set_staging(int staging) { staging_ = staging; }

 private:
  Status make(int parent, const std::string& name, const Attributes& attributes, const std::string& path) {
    if (attributes.type != InodeType::directory && attributes.link_count > 1) {
      const auto [known, first] = first_name_.emplace(attributes.number, path.substr(1));
      if (!first) {
        if (::linkat(staging_, known->second.c_str(), parent, name.c_str(), 0) != 0) return failed("a hard link");
        return ok_status();
      }
    }
    switch (attributes.type) {
      case InodeType::directory:
        VAULTFS_RETURN_IF_ERROR(make_directory(parent, name, attributes, path));
        break;
      case InodeType::file:
        VAULTFS_RETURN_IF_ERROR(make_file(parent, name, attributes));
        break;
      case InodeType::symlink: {
        VAULTFS_ASSIGN_OR_RETURN(const std::string target, tree_.read_link(attributes.number));
        if (::symlinkat(target.c_str(), parent, name.c_str()) != 0) return failed("a symbolic link");
        break;
      }
      default:
        if (::mknodat(parent, name.c_str(), node_type(attributes.type) | 0600U, attributes.rdev) != 0) {
          return failed("a special file");
        }
    }
    return set_attributes(tree_, parent, name, attributes, outcome_);
  }

  Status make_directory(int parent, const std::string& name, const Attributes& attributes, const std::string& path) {
    if (::mkdirat(parent, name.c_str(), 0700) != 0) return failed("a directory");
    const FileDescriptor made(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made.valid()) return failed("a directory");
    return fill(made.get(), attributes.number, path);
  }

  Status make_file(int parent, const std::string& name, const Attributes& attributes) {
    FileDescriptor fd(::openat(parent, name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid()) return failed("a file");
    VAULTFS_ASSIGN_OR_RETURN(const auto target, RestoreTarget::adopt_file(std::move(fd), attributes.size));
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t written,
                             restore_content(vault_, tree_, attributes.number, attributes.size, *target, progress_));
    ++outcome_.files;
    outcome_.logical_bytes += attributes.size;
    outcome_.written_bytes += written;
    return ok_status();
  }

  Vault& vault_;
  FileTree& tree_;
  ProgressMeter& progress_;
  RestoreOutcome& outcome_;
  int staging_ = -1;
  std::map<InodeNumber, std::string> first_name_;  // of files with several names, below the staging directory
};

// The private directory in `to`; removed with all that is still in it at the end.
class Staging {
 public:
  explicit Staging(std::filesystem::path to) : to_(std::move(to)), name_(unique_name(".vaultfs-restore-")) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    if (!directory_.valid()) return;
    std::error_code ignored;
    std::filesystem::remove_all(to_ / name_, ignored);
  }

  Status make() {
    parent_ = FileDescriptor(::open(to_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent_.valid()) return system_call_error(errno, "cannot open " + to_.string());
    if (::mkdirat(parent_.get(), name_.c_str(), 0700) != 0) return failed("into that directory");
    directory_ =
        FileDescriptor(::openat(parent_.get(), name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return directory_.valid() ? ok_status() : Status(failed("into that directory"));
  }

  [[nodiscard]] int directory() const { return directory_.get(); }

  // Names already taken in `to` are refused, or exchanged for the new ones. All or none.
  Status publish(const std::vector<DirectoryEntry>& entries, bool force) {
    if (::syncfs(directory_.get()) != 0) return failed("durably");
    std::vector<std::pair<std::string, unsigned>> done;
    Status status = ok_status();
    for (const DirectoryEntry& entry : entries) {
      unsigned flags = RENAME_NOREPLACE;
      status = move(directory_.get(), parent_.get(), entry.name, flags);
      if (!status.ok() && status.code() == ErrorCode::RefusedOverwrite && force) {
        flags = RENAME_EXCHANGE;
        status = move(directory_.get(), parent_.get(), entry.name, flags);
      }
      if (!status.ok()) break;
      done.emplace_back(entry.name, flags);
    }
    if (status.ok() && ::fsync(parent_.get()) == 0) return status;
    if (status.ok()) status = failed("durably");
    for (const auto& [name, flags] : done) static_cast<void>(move(parent_.get(), directory_.get(), name, flags));
    return status;
  }

 private:
  Status move(int from, int to, const std::string& name, unsigned flags) {
    if (::renameat2(from, name.c_str(), to, name.c_str(), flags) == 0) return ok_status();
    if (errno != EEXIST) return system_call_error(errno, "cannot move a restored file to its place");
    return Error{ErrorCode::RefusedOverwrite, (to_ / name).string() + " exists; name another directory or use --force"};
  }

  const std::filesystem::path to_;
  const std::string name_;
  FileDescriptor parent_;
  FileDescriptor directory_;
};

Status measure(FileTree& tree, InodeNumber directory, std::set<InodeNumber>& seen, TreeSize& size) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree.list(directory));
  for (const DirectoryEntry& entry : entries) {
    if (entry.type == InodeType::directory) VAULTFS_RETURN_IF_ERROR(measure(tree, entry.number, seen, size));
    if (entry.type != InodeType::file || !seen.insert(entry.number).second) continue;
    VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree.attributes(entry.number));
    ++size.files;
    size.logical_bytes += attributes.size;
  }
  return ok_status();
}

}  // namespace

Result<TreeSize> measure_tree(FileTree& tree, InodeNumber directory) {
  TreeSize size;
  std::set<InodeNumber> seen;
  VAULTFS_RETURN_IF_ERROR(measure(tree, directory, seen, size));
  return size;
}

Status restore_tree(Vault& vault, FileTree& tree, InodeNumber root, const std::filesystem::path& to, bool force,
                    ProgressMeter& progress, RestoreOutcome& outcome) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree.list(root));
  for (const DirectoryEntry& entry : entries) {
    VAULTFS_RETURN_IF_ERROR(check_entry_name(entry.name));
    struct stat st {};
    if (!force && ::lstat((to / entry.name).c_str(), &st) == 0) {
      return Error{ErrorCode::RefusedOverwrite,
                   (to / entry.name).string() + " exists; name another directory or use --force"};
    }
  }
  Staging staging(to);
  VAULTFS_RETURN_IF_ERROR(staging.make());
  TreeRestore work(vault, tree, progress, outcome);
  work.set_staging(staging.directory());
  VAULTFS_RETURN_IF_ERROR(work.fill(staging.directory(), root, ""));
  return staging.publish(entries, force);
}

}  // namespace vaultfs
