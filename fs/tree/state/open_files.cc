#include "fs/tree/state/open_files.h"

#include <utility>

namespace vaultfs {

Result<std::uint64_t> OpenFiles::open(const InodePointer& inode, bool writing) {
  const MutexLock lock(mutex_);
  OpenState& state = inode->open;
  if (writing && state.reserved) return Error{ErrorCode::ItemBusy, "a backup run is writing this file"};
  Handle handle{inode, writing, 0, tree_errors_};
  // An error that nobody has heard of yet is for the next one who opens.
  if (state.sticky != nullptr) handle.seen_errors = state.sticky->count - (state.sticky->reported ? 0 : 1);
  ++state.handles;
  if (writing) {
    ++state.writers;
    if (inode->item != nullptr) ++inode->item->open_writers;
  }
  const std::uint64_t number = next_handle_++;
  handles_.emplace(number, std::move(handle));
  return number;
}

InodePointer OpenFiles::release(std::uint64_t number) {
  const MutexLock lock(mutex_);
  const auto found = handles_.find(number);
  if (found == handles_.end()) return nullptr;
  InodePointer inode = found->second.inode;
  OpenState& state = inode->open;
  if (found->second.writing) {
    --state.writers;
    if (inode->item != nullptr) --inode->item->open_writers;
  }
  --state.handles;
  handles_.erase(found);
  return state.handles == 0 ? inode : nullptr;
}

bool OpenFiles::is_open(const Inode& inode) {
  const MutexLock lock(mutex_);
  return inode.open.handles > 0;
}

bool OpenFiles::is_open_for_writing(const Inode& inode) {
  const MutexLock lock(mutex_);
  return inode.open.writers > 0;
}

std::vector<InodePointer> OpenFiles::open_for_writing(const Item* item) {
  std::vector<InodePointer> written;
  const MutexLock lock(mutex_);
  for (const auto& [number, handle] : handles_) {
    if (handle.writing && (item == nullptr || handle.inode->item == item)) written.push_back(handle.inode);
  }
  return written;
}

Status OpenFiles::take_error(std::uint64_t number) {
  const MutexLock lock(mutex_);
  const auto found = handles_.find(number);
  if (found == handles_.end()) return ok_status();
  Handle& handle = found->second;
  StickyError* sticky = handle.inode->open.sticky.get();
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

void OpenFiles::add_error(Inode& inode, const Error& error) {
  const MutexLock lock(mutex_);
  std::unique_ptr<StickyError>& sticky = inode.open.sticky;
  if (sticky == nullptr) sticky = std::make_unique<StickyError>();
  sticky->error = error;
  ++sticky->count;
  sticky->reported = false;
}

void OpenFiles::add_tree_error(const Error& error) {
  const MutexLock lock(mutex_);
  tree_error_ = error;
  ++tree_errors_;
}

bool OpenFiles::has_tree_error() {
  const MutexLock lock(mutex_);
  return tree_error_.has_value();
}

Status OpenFiles::reserve(Inode& inode) {
  const MutexLock lock(mutex_);
  if (inode.open.reserved) return Error{ErrorCode::ItemBusy, "another backup run is writing this file"};
  if (inode.open.writers > 0) return Error{ErrorCode::ItemBusy, "the file is open for writing"};
  inode.open.reserved = true;
  return ok_status();
}

void OpenFiles::unreserve(Inode& inode) {
  const MutexLock lock(mutex_);
  inode.open.reserved = false;
}

bool OpenFiles::is_reserved(const Inode& inode) {
  const MutexLock lock(mutex_);
  return inode.open.reserved;
}

Status OpenFiles::check_write_access(const Inode& inode, std::uint64_t number) {
  const MutexLock lock(mutex_);
  // Handle 0 is the holder of the reservation itself.
  if (inode.open.reserved && number != 0) return Error{ErrorCode::ItemBusy, "a backup run is writing this file"};
  return ok_status();
}

}  // namespace vaultfs
