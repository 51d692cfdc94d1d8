// Truncation, punched holes, zeroed ranges.
#include <algorithm>
#include <limits>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {
namespace {

std::uint64_t round_up_to_chunk(std::uint64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes * kChunkBytes; }

}  // namespace

Status TreeEngine::truncate(InodeNumber number, std::uint64_t size) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  if (size > kMaxFileBytes) return file_too_large();
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {size / kChunkBytes}));
    const ChangeHold cut = gate_.lock_for_change(*inode);
    const WriterLock lock(inode->mutex);
    if (inode->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
    if (inode->content != nullptr && inode->content->extents.page_to_load(size / kChunkBytes).has_value()) continue;
    VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
    const Lsn changed = log_.stamp(*inode);
    const std::uint64_t old_size = inode->size;
    if (size < old_size) {
      const SetAttributes record = content_record(*inode);
      TreeEntryWriter entry;
      entry.add(CutContent{number, size});
      entry.add(record);
      VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
      apply_record(*inode, record, changed);
      contents_.zero_content(inode, size, std::numeric_limits<std::uint64_t>::max() / kChunkBytes * kChunkBytes,
                             old_size, lsn);
      resize(*inode, size);
      inode->journalled_size = std::min(inode->journalled_size, size);
      inode->attributes_dirty = inode->journalled_size != size;
      return ok_status();
    }
    resize(*inode, size);
    touch_content(*inode);
    inode->changed = changed;
    flush_.list(inode);
    return ok_status();
  }
}

Status TreeEngine::zero_range(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend) {
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {offset / kChunkBytes, (offset + length - 1) / kChunkBytes}));
    const ChangeHold cut = gate_.lock_for_change(*inode);
    const WriterLock lock(inode->mutex);
    if (inode->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
    std::uint64_t end = std::min(offset + length, inode->size);
    // Behind the end of the file all is zero anyway: the last chunk counts as a whole.
    if (end == inode->size) end = round_up_to_chunk(end);
    ExtentMap& extents = inode->image().extents;
    if (offset < end && (extents.page_to_load(offset / kChunkBytes).has_value() ||
                         extents.page_to_load((end - 1) / kChunkBytes).has_value())) {
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
    const Lsn changed = log_.stamp(*inode);
    if (offset < inode->size) {
      const SetAttributes record = content_record(*inode);
      TreeEntryWriter entry;
      entry.add(ZeroRange{inode->number, offset, end});
      entry.add(record);
      VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
      apply_record(*inode, record, changed);
      contents_.zero_content(inode, offset, end, inode->size, lsn);
    }
    space_.give_back(inode->image().set_aside, offset, offset + length);
    if (extend && offset + length > inode->size) resize(*inode, offset + length);
    touch_content(*inode);
    inode->changed = changed;
    flush_.list(inode);
    return ok_status();
  }
}

}  // namespace vaultfs
