#include "fs/restore/restore_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "base/files/file_descriptor.h"
#include "fs/restore/restore_attributes.h"
#include "fs/restore/restore_file.h"
#include "fs/restore/restore_staging.h"

namespace vaultfs {
namespace {

constexpr int kRestoredDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Error failed(const char* what) { return system_call_error(errno, std::string("cannot restore ") + what); }

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

// Makes everything below one directory of a point, in the same order as its entries. However deep the tree is, there is
// one descriptor at a time for it: the way back up is "..", which has to be the directory that was left.
class TreeRestore {
 public:
  TreeRestore(Vault& vault, FileTree& tree, ProgressMeter& progress, RestoreOutcome& outcome,
              const RestoreStaging& staging)
      : vault_(vault),
        tree_(tree),
        progress_(progress),
        outcome_(outcome),
        aside_(staging.aside()),
        hard_links_(staging.has_hard_links()) {}

  Status fill(int top, InodeNumber inode) {
    VAULTFS_RETURN_IF_ERROR(enter(top, ".", inode));
    while (true) {
      Level& here = levels_.back();
      if (here.next == here.entries.size()) {
        if (levels_.size() == 1) return ok_status();
        VAULTFS_RETURN_IF_ERROR(leave());
        continue;
      }
      const DirectoryEntry entry = here.entries[here.next++];
      VAULTFS_RETURN_IF_ERROR(check_entry_name(entry.name));
      if (entry.type == InodeType::directory) {
        if (::mkdirat(at_.get(), entry.name.c_str(), 0700) != 0) return failed("a directory");
        VAULTFS_RETURN_IF_ERROR(enter(at_.get(), entry.name, entry.number));
      } else {
        VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree_.attributes(entry.number));
        VAULTFS_RETURN_IF_ERROR(make(entry.name, attributes));
      }
    }
  }

 private:
  // A directory on the way from the top to the one that is being filled.
  struct Level {
    std::string name;
    InodeNumber inode;
    dev_t device = 0;
    ino_t place = 0;
    std::vector<DirectoryEntry> entries;
    std::size_t next = 0;
  };

  Status enter(int parent, const std::string& name, InodeNumber inode) {
    FileDescriptor made(::openat(parent, name.c_str(), kRestoredDirectoryFlags));
    struct stat st {};
    if (!made.valid() || ::fstat(made.get(), &st) != 0) return failed("a directory");
    VAULTFS_ASSIGN_OR_RETURN(std::vector<DirectoryEntry> entries, tree_.list(inode));
    levels_.push_back({name, inode, st.st_dev, st.st_ino, std::move(entries)});
    at_ = std::move(made);
    return ok_status();
  }

  // Attributes come when the content is there: it would change them, and they might forbid it.
  Status leave() {
    const Level& above = levels_[levels_.size() - 2];
    FileDescriptor up(::openat(at_.get(), "..", kRestoredDirectoryFlags));
    struct stat st {};
    if (!up.valid() || ::fstat(up.get(), &st) != 0) return failed("a directory");
    if (st.st_dev != above.device || st.st_ino != above.place) {
      return Error{ErrorCode::IoError, "cannot restore: somebody moved a directory that is just being restored"};
    }
    at_ = std::move(up);
    VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree_.attributes(levels_.back().inode));
    VAULTFS_RETURN_IF_ERROR(restore_attributes(tree_, at_.get(), levels_.back().name, attributes, outcome_));
    levels_.pop_back();
    return ok_status();
  }

  // Everything but directories. What has several names waits aside, under its number, for the next of them: paths may
  // be longer than the kernel takes. The last name is that one, so that nothing ever has more names than it should.
  Status make(const std::string& name, const Attributes& attributes) {
    const std::string number = std::to_string(attributes.number.value);
    if (attributes.link_count > 1 && !hard_links_) {
      // Each name gets a file of its own.
      if (!seen_.insert(attributes.number).second) ++outcome_.split_links;
      return make_first(name, attributes);
    }
    if (attributes.link_count > 1) {
      if (lost_.contains(attributes.number)) return ok_status();
      const auto [known, first] = names_left_.emplace(attributes.number, attributes.link_count - 1);
      if (!first) {
        const bool last = --known->second == 0;
        if (last) names_left_.erase(known);
        const int result = last ? ::renameat2(aside_, number.c_str(), at_.get(), name.c_str(), RENAME_NOREPLACE)
                                : ::linkat(aside_, number.c_str(), at_.get(), name.c_str(), 0);
        return result == 0 ? ok_status() : Status(failed("a hard link"));
      }
    }
    VAULTFS_RETURN_IF_ERROR(make_first(name, attributes));
    if (attributes.link_count <= 1 || lost_.contains(attributes.number)) return ok_status();
    if (::linkat(at_.get(), name.c_str(), aside_, number.c_str(), 0) != 0) return failed("a hard link");
    return ok_status();
  }

  Status make_first(const std::string& name, const Attributes& attributes) {
    if (attributes.type == InodeType::file) {
      VAULTFS_RETURN_IF_ERROR(make_file(name, attributes));
    } else if (attributes.type == InodeType::symlink) {
      VAULTFS_ASSIGN_OR_RETURN(const std::string target, tree_.read_link(attributes.number));
      if (::symlinkat(target.c_str(), at_.get(), name.c_str()) != 0) return failed("a symbolic link");
    } else if (::mknodat(at_.get(), name.c_str(), node_type(attributes.type) | 0600U, attributes.rdev) != 0) {
      if (errno != EPERM && errno != EOPNOTSUPP && errno != EINVAL) return failed("a special file");
      ++outcome_.lost_files;
      lost_.insert(attributes.number);
      return ok_status();
    }
    return restore_attributes(tree_, at_.get(), name, attributes, outcome_);
  }

  Status make_file(const std::string& name, const Attributes& attributes) {
    FileDescriptor fd(::openat(at_.get(), name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600));
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
  const int aside_;
  const bool hard_links_;
  std::set<InodeNumber> seen_;  // of several names, where there are no hard links
  std::set<InodeNumber> lost_;  // special files that could not be made
  FileDescriptor at_;           // the directory of levels_.back()
  std::vector<Level> levels_;
  std::map<InodeNumber, std::uint64_t> names_left_;  // of what has several names, and lies aside
};

}  // namespace

Result<TreeSize> measure_tree(FileTree& tree, InodeNumber directory) {
  TreeSize size;
  std::set<InodeNumber> seen;
  std::vector<InodeNumber> open{directory};
  while (!open.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree.list(open.back()));
    open.pop_back();
    for (const DirectoryEntry& entry : entries) {
      if (entry.type == InodeType::directory) open.push_back(entry.number);
      if (entry.type == InodeType::symlink) ++size.symbolic_links;
      if (entry.type != InodeType::file || !seen.insert(entry.number).second) continue;
      VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree.attributes(entry.number));
      ++size.files;
      size.logical_bytes += attributes.size;
      size.largest_file = std::max(size.largest_file, attributes.size);
    }
  }
  return size;
}

namespace {

// Files below what is about to be replaced that somebody else goes on using.
Status check_tree_not_in_use(const std::filesystem::path& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return ok_status();
  if (S_ISREG(st.st_mode)) return check_not_in_use(path);
  if (!S_ISDIR(st.st_mode)) return ok_status();
  std::error_code error;
  const auto options = std::filesystem::directory_options::skip_permission_denied;
  for (std::filesystem::recursive_directory_iterator at(path, options, error), end; !error && at != end;
       at.increment(error)) {
    if (at->symlink_status(error).type() == std::filesystem::file_type::regular) {
      VAULTFS_RETURN_IF_ERROR(check_not_in_use(at->path()));
    }
  }
  return ok_status();
}

// What the point needs and the file system there has not, before the first byte.
Status check_abilities(RestoreStaging& staging, const TreeSize& size, const std::filesystem::path& to) {
  if (size.symbolic_links > 0 && !staging.has_symbolic_links()) {
    return Error{ErrorCode::NotSupported,
                 "the file system of " + to.string() + " keeps no symbolic links, and the point has " +
                     std::to_string(size.symbolic_links) + "; restore to another one, or single disks with --disk"};
  }
  return staging.check_size(size.largest_file);
}

}  // namespace

Status restore_tree(Vault& vault, FileTree& tree, InodeNumber root, const RestoreRequest& request, const TreeSize& size,
                    ProgressMeter& progress, RestoreOutcome& outcome) {
  const std::filesystem::path& to = request.to;
  const bool force = request.force;
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree.list(root));
  for (const DirectoryEntry& entry : entries) {
    VAULTFS_RETURN_IF_ERROR(check_entry_name(entry.name));
    struct stat st {};
    if (!force && ::lstat((to / entry.name).c_str(), &st) == 0) {
      return Error{ErrorCode::RefusedOverwrite,
                   (to / entry.name).string() + " exists; name another directory or use --force"};
    }
    if (force && !request.replace_open) VAULTFS_RETURN_IF_ERROR(check_tree_not_in_use(to / entry.name));
  }
  RestoreStaging staging(to);
  VAULTFS_RETURN_IF_ERROR(staging.make());
  VAULTFS_RETURN_IF_ERROR(check_abilities(staging, size, to));
  TreeRestore work(vault, tree, progress, outcome, staging);
  if (Status filled = work.fill(staging.tree(), root); !filled.ok()) {
    Error error = std::move(filled).error();
    error.message += "; " + to.string() + " is as it was";
    return error;
  }
  return staging.publish(entries, force);
}

}  // namespace vaultfs
