// Open files: they keep unlinked inodes alive, count writers, and each hears of a late error once.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Result<std::uint64_t> TreeEngine::open(InodeNumber number, bool writing) {
  // Shared: the inode must not be destroyed between being found and being counted.
  const ReaderLock lock(tree_mutex_);
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_locked(number));
  if (writing) VAULTFS_RETURN_IF_ERROR(writable());
  const MutexLock handle_lock(handle_mutex_);
  if (writing && inode->reserved) return Error{ErrorCode::ItemBusy, "a backup run is writing this file"};
  Handle handle{inode, writing, 0, tree_errors_};
  // An error that nobody has heard of yet is for the next one who opens.
  if (inode->sticky != nullptr) handle.seen_errors = inode->sticky->count - (inode->sticky->reported ? 0 : 1);
  ++inode->handles;
  if (writing) {
    ++inode->writers;
    if (inode->item != nullptr) ++inode->item->open_writers;
  }
  const std::uint64_t key = next_handle_++;
  handles_.emplace(key, std::move(handle));
  return key;
}

void TreeEngine::release(std::uint64_t handle_number) {
  InodePointer inode;
  {
    const MutexLock lock(handle_mutex_);
    const auto found = handles_.find(handle_number);
    if (found == handles_.end()) return;
    inode = found->second.inode;
    if (found->second.writing) {
      --inode->writers;
      if (inode->item != nullptr) --inode->item->open_writers;
    }
    --inode->handles;
    handles_.erase(found);
    if (inode->handles > 0) return;
  }
  destroy_if_unused(inode);
}

void TreeEngine::forget(InodeNumber number, std::uint64_t count) {
  InodePointer inode;
  {
    const ReaderLock lock(tree_mutex_);
    const auto found = inodes_.find(number);
    if (found == inodes_.end()) return;
    inode = found->second;
  }
  std::uint64_t known = inode->known.load();
  while (!inode->known.compare_exchange_weak(known, known - std::min(known, count))) {
  }
  if (known <= count) destroy_if_unused(inode);
}

void TreeEngine::destroy_if_unused(const InodePointer& inode) {
  {
    const ReaderLock lock(tree_mutex_);
    if (inode->links > 0) return;
  }
  const ReaderLock cut(change_cut_);
  const WriterLock lock(tree_mutex_);
  {
    const MutexLock handle_lock(handle_mutex_);
    if (inode->handles > 0) return;
  }
  if (inode->links == 0 && inode->known.load() == 0 && inodes_.contains(inode->number)) destroy(inode);
}

Status TreeEngine::take_error(std::uint64_t handle_number) {
  const MutexLock lock(handle_mutex_);
  const auto found = handles_.find(handle_number);
  if (found == handles_.end()) return ok_status();
  Handle& handle = found->second;
  StickyError* sticky = handle.inode->sticky.get();
  if (sticky != nullptr && handle.seen_errors < sticky->count) {
    handle.seen_errors = sticky->count;
    sticky->reported = true;
    return sticky->error;
  }
  if (handle.seen_tree_errors < tree_errors_ && tree_error_.has_value()) {
    handle.seen_tree_errors = tree_errors_;
    return *tree_error_;
  }
  return ok_status();
}

Status TreeEngine::check_write_access(const Inode& inode, std::uint64_t handle_number) {
  const MutexLock lock(handle_mutex_);
  // Handle 0 is the holder of the reservation itself.
  if (inode.reserved && handle_number != 0) return Error{ErrorCode::ItemBusy, "a backup run is writing this file"};
  return ok_status();
}

Status TreeEngine::reserve(InodeNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_file(number));
  const MutexLock lock(handle_mutex_);
  if (inode->reserved) return Error{ErrorCode::ItemBusy, "another backup run is writing this file"};
  if (inode->writers > 0) return Error{ErrorCode::ItemBusy, "the file is open for writing"};
  inode->reserved = true;
  return ok_status();
}

void TreeEngine::unreserve(InodeNumber number) {
  const Result<InodePointer> inode = find(number);
  if (!inode.ok()) return;
  const MutexLock lock(handle_mutex_);
  (*inode)->reserved = false;
}

}  // namespace vaultfs
