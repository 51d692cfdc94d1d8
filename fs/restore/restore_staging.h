#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/result.h"
#include "fs/tree/attributes.h"

namespace vaultfs {

// Removes the directory `name` in `parent` with all that is in it, as far as that is possible. However deep it is, that
// takes a few descriptors and no recursion. REQUIRES: nobody else makes or takes names in it.
void remove_tree(int parent, const std::string& name) noexcept;

// The private directory inside `to` in which a restore makes everything, before it moves to its place. Removed at the
// end, with all that is still in it. One thread.
class RestoreStaging {
 public:
  explicit RestoreStaging(std::filesystem::path to);
  RestoreStaging(const RestoreStaging&) = delete;
  RestoreStaging& operator=(const RestoreStaging&) = delete;
  ~RestoreStaging();

  [[nodiscard]] Status make();
  // What the file system there can do, as make() has tried.
  [[nodiscard]] bool has_symbolic_links() const noexcept { return symbolic_links_; }
  [[nodiscard]] bool has_hard_links() const noexcept { return hard_links_; }
  // Whether it takes a file of that size. FileTooLarge.
  [[nodiscard]] Status check_size(std::uint64_t bytes);
  // What is moved to its place at the end.
  [[nodiscard]] int tree() const noexcept { return tree_.get(); }
  // Another directory beside it on the same file system, with no name of the tree's in it.
  [[nodiscard]] int aside() const noexcept { return aside_.get(); }

  // Makes durable what is in the tree and moves `entries` to their place. Names already taken in `to` are refused
  // (RefusedOverwrite), or with `force` exchanged for the new ones. All or none. Where the file system knows no rename
  // that refuses or exchanges (NTFS, NFS), a name is looked at just before, and an old file moved aside for a moment.
  [[nodiscard]] Status publish(const std::vector<DirectoryEntry>& entries, bool force);

 private:
  void try_out();
  [[nodiscard]] Status move(int from, int to, const std::string& name, unsigned flags);
  // The same by plain renames.
  [[nodiscard]] Status move_plainly(int from, int to, const std::string& name, bool exchange);

  const std::filesystem::path to_;
  const std::string name_;
  FileDescriptor parent_;
  FileDescriptor directory_;
  FileDescriptor tree_;
  FileDescriptor aside_;
  bool symbolic_links_ = false;
  bool hard_links_ = false;
  bool rename_flags_ = false;
};

}  // namespace vaultfs
