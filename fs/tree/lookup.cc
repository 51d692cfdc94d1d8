// Finding inodes and telling what they are.

#include "base/thread/mutex.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Attributes TreeEngine::attributes_locked(const Inode& inode) {
  Attributes a;
  a.number = inode.number;
  a.type = inode.type;
  a.mode = inode.mode;
  a.uid = inode.uid;
  a.gid = inode.gid;
  a.link_count = inode.links;
  a.rdev = inode.rdev;
  a.size = inode.target != nullptr ? inode.target->size() : inode.size;
  a.atime = inode.atime;
  a.mtime = inode.mtime;
  a.ctime = inode.ctime;
  a.open_for_writing = open_files_.is_open_for_writing(inode);
  if (inode.content == nullptr) return a;
  const DiskImage& image = *inode.content;
  a.stored = image.dirty.empty();
  const std::uint64_t whole = (inode.size + kSlotPageBytes - 1) / kSlotPageBytes * kSlotPageBytes;
  std::uint64_t allocated = image.extents.used_entries() * kChunkBytes;
  // The file's last chunk counts up to its end only.
  if (const std::uint64_t tail = whole % kChunkBytes; tail != 0) {
    const std::uint64_t last = whole / kChunkBytes;
    if (!image.extents.page_to_load(last).has_value() && !image.extents.get(last).is_zero()) {
      allocated -= kChunkBytes - tail;
    }
  }
  for (const auto& [index, chunk] : image.dirty) {
    if (image.extents.page_to_load(index).has_value() || !image.extents.get(index).is_zero()) continue;
    std::uint32_t pages = chunk.active != nullptr ? chunk.active->touched_pages() : 0;
    for (const JobPointer& job : chunk.storing) pages = std::max(pages, job->slot->touched_pages());
    allocated += std::uint64_t{pages} * kSlotPageBytes;
  }
  // What fallocate has set aside shows as on other file systems, beyond the end of the file too.
  a.allocated_bytes = std::min(allocated, whole) + image.set_aside.bytes(image.extents);
  return a;
}

void TreeEngine::count_pages(const InodePointer& inode) {
  for (;;) {
    std::optional<std::uint64_t> page;
    {
      const ReaderLock lock(inode->mutex);
      if (inode->content != nullptr) page = inode->content->extents.uncounted_page();
    }
    // A page that can't be read is not counted: stat works on a damaged file too.
    if (!page.has_value() || !contents_.load_page(inode, *page).ok()) return;
  }
}

Attributes TreeEngine::attributes_of(const InodePointer& inode) {
  if (inode->type == InodeType::file) count_pages(inode);
  const ReaderLock lock(table_.mutex());
  const ReaderLock inode_lock(inode->mutex);
  return attributes_locked(*inode);
}

Result<Attributes> TreeEngine::attributes(InodeNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  return attributes_of(inode);
}

Result<InodePointer> TreeEngine::find_child(InodeNumber parent, const std::string& name, bool known) {
  if (name.size() > kMaxNameBytes) return Error{ErrorCode::NameTooLong, "a name has at most 255 bytes"};
  const ReaderLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(const Inode* directory, table_.directory(parent));
  const auto entry = directory->entries->find(name);
  if (entry == directory->entries->end()) return no_such_file();
  VAULTFS_ASSIGN_OR_RETURN(InodePointer inode, table_.find_locked(entry->second.number));
  if (known) ++inode->known;
  return inode;
}

// Both tell of what the name meant when it was looked up, even if it means something else by now.
Result<Attributes> TreeEngine::lookup(InodeNumber parent, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_child(parent, name, false));
  return attributes_of(inode);
}

Result<Attributes> TreeEngine::lookup_known(InodeNumber parent, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_child(parent, name, true));
  return attributes_of(inode);
}

Result<InodeNumber> TreeEngine::parent(InodeNumber directory) {
  const ReaderLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(const Inode* inode, table_.directory(directory));
  if (directory == kRootInode) return no_such_file();
  return inode->parent;
}

bool TreeEngine::remember(InodeNumber number) {
  const ReaderLock lock(table_.mutex());
  const Result<InodePointer> inode = table_.find_locked(number);
  if (inode.ok()) ++(*inode)->known;
  return inode.ok();
}

Result<std::vector<DirectoryEntry>> TreeEngine::list(InodeNumber directory) {
  const ReaderLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(const Inode* inode, table_.directory(directory));
  std::vector<DirectoryEntry> entries;
  entries.reserve(inode->entries->size());
  for (const auto& [name, entry] : *inode->entries) entries.push_back({name, entry.number, entry.type});
  return entries;
}

Result<std::string> TreeEngine::read_link(InodeNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  const ReaderLock lock(inode->mutex);
  if (inode->target == nullptr) return Error{ErrorCode::InvalidArgument, "that is no symbolic link"};
  return *inode->target;
}

}  // namespace vaultfs
