#include "fs/tree/state/inode_table.h"

#include "fs/tree/format/root_inode.h"
#include "fs/tree/state/tree_errors.h"

namespace vaultfs {

Result<InodePointer> InodeTable::find_locked(InodeNumber number) const {
  const auto found = inodes_.find(number);
  if (found == inodes_.end()) return no_such_file();
  return found->second;
}

InodePointer InodeTable::get(InodeNumber number) const {
  const auto found = inodes_.find(number);
  return found == inodes_.end() ? nullptr : found->second;
}

Result<InodePointer> InodeTable::find(InodeNumber number) const {
  const ReaderLock lock(mutex_);
  return find_locked(number);
}

Result<InodePointer> InodeTable::find_file(InodeNumber number) const {
  VAULTFS_ASSIGN_OR_RETURN(InodePointer inode, find(number));
  if (inode->type == InodeType::directory) return Error{ErrorCode::IsADirectory, "a directory has no content"};
  if (inode->type != InodeType::file) return Error{ErrorCode::InvalidArgument, "only a regular file has content"};
  return inode;
}

Result<Inode*> InodeTable::directory(InodeNumber number) const {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_locked(number));
  if (inode->type != InodeType::directory) return Error{ErrorCode::NotADirectory, "that is no directory"};
  return inode.get();
}

std::vector<InodePointer> InodeTable::inodes() const {
  std::vector<InodePointer> inodes;
  const ReaderLock lock(mutex_);
  inodes.reserve(inodes_.size());
  for (const auto& [number, inode] : inodes_) inodes.push_back(inode);
  return inodes;
}

std::vector<InodePointer> InodeTable::files() const {
  std::vector<InodePointer> files;
  const ReaderLock lock(mutex_);
  for (const auto& [number, inode] : inodes_) {
    if (inode->type == InodeType::file) files.push_back(inode);
  }
  return files;
}

std::size_t InodeTable::size() const {
  const ReaderLock lock(mutex_);
  return inodes_.size();
}

std::vector<std::string> InodeTable::item_names() const {
  const ReaderLock lock(mutex_);
  std::vector<std::string> names;
  const auto root = inodes_.find(kRootInode);
  if (root == inodes_.end()) return names;
  for (const auto& [name, entry] : *root->second->entries) names.push_back(name);
  return names;
}

bool InodeTable::open_for_writing(const std::string& item) const {
  const ReaderLock lock(mutex_);
  return std::any_of(items_.begin(), items_.end(),
                     [&](const auto& known) { return known->name == item && known->open_writers.load() > 0; });
}

bool InodeTable::changed_since(const std::string& item, Lsn since) const {
  const ReaderLock lock(mutex_);
  return std::any_of(items_.begin(), items_.end(), [&](const auto& known) {
    return known->name == item && known->last_change.load() >= std::max<std::uint64_t>(since.value, 1);
  });
}

std::vector<Item*> InodeTable::changed_behind(Lsn lsn) const {
  std::vector<Item*> changed;
  const ReaderLock lock(mutex_);
  for (const auto& item : items_) {
    if (item->last_change.load() > lsn.value) changed.push_back(item.get());
  }
  return changed;
}

Item& InodeTable::item_named(const std::string& name) {
  for (const auto& item : items_) {
    if (item->name == name) return *item;
  }
  // NOLINTNEXTLINE(modernize-make-unique): Item is an aggregate, which make_unique can't build
  items_.push_back(std::unique_ptr<Item>(new Item{name, {0}, {0}, {}, {}}));
  return *items_.back();
}

void InodeTable::erase(InodeNumber number) {
  inodes_.erase(number);
  unnamed_.erase(number);
}

}  // namespace vaultfs
