// Opening, and what keeps an inode that has no name: handles and the kernel's references.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Result<std::uint64_t> TreeEngine::open(InodeNumber number, bool writing) {
  // Shared: the inode must not be destroyed between being found and being counted.
  const ReaderLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_locked(number));
  if (writing) VAULTFS_RETURN_IF_ERROR(log_.writable());
  return open_files_.open(inode, writing);
}

void TreeEngine::release(std::uint64_t handle_number) {
  if (const InodePointer closed = open_files_.release(handle_number)) destroy_if_unused(closed);
}

void TreeEngine::forget(InodeNumber number, std::uint64_t count) {
  const Result<InodePointer> found = table_.find(number);
  if (!found.ok()) return;
  const InodePointer& inode = *found;
  std::uint64_t known = inode->known.load();
  while (!inode->known.compare_exchange_weak(known, known - std::min(known, count))) {
  }
  if (known <= count) destroy_if_unused(inode);
}

void TreeEngine::destroy_if_unused(const InodePointer& inode) {
  {
    const ReaderLock lock(table_.mutex());
    if (inode->links > 0) return;
  }
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(table_.mutex());
  if (open_files_.is_open(*inode)) return;
  if (inode->links == 0 && inode->known.load() == 0 && table_.contains(inode->number)) destroy(inode);
}

Status TreeEngine::reserve(InodeNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  return open_files_.reserve(*inode);
}

void TreeEngine::unreserve(InodeNumber number) {
  const Result<InodePointer> inode = table_.find(number);
  if (inode.ok()) open_files_.unreserve(**inode);
}

}  // namespace vaultfs
