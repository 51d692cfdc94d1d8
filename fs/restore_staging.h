#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/attributes.h"
#include "fs/file_descriptor.h"

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
  // What is moved to its place at the end.
  [[nodiscard]] int tree() const noexcept { return tree_.get(); }
  // Another directory beside it on the same file system, with no name of the tree's in it.
  [[nodiscard]] int aside() const noexcept { return aside_.get(); }

  // Makes durable what is in the tree and moves `entries` to their place. Names already taken in `to` are refused
  // (RefusedOverwrite), or with `force` exchanged for the new ones. All or none.
  [[nodiscard]] Status publish(const std::vector<DirectoryEntry>& entries, bool force);

 private:
  [[nodiscard]] Status move(int from, int to, const std::string& name, unsigned flags);

  const std::filesystem::path to_;
  const std::string name_;
  FileDescriptor parent_;
  FileDescriptor directory_;
  FileDescriptor tree_;
  FileDescriptor aside_;
};

}  // namespace vaultfs
