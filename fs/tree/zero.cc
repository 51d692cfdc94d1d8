// Truncation, punched holes, zeroed ranges.
#include <algorithm>
#include <limits>

#include "base/thread/mutex.h"
#include "fs/tree/inode_locks.h"
#include "fs/tree/tree_engine.h"
#include "fs/tree/tree_errors.h"

namespace vaultfs {
namespace {

std::uint64_t round_up_to_chunk(std::uint64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes * kChunkBytes; }

}  // namespace

Status TreeEngine::load_page(const InodePointer& inode, std::uint64_t page) {
  const UseGate::Use use = vault_->segments().use();
  ChunkId stored;
  {
    const ReaderLock lock(inode->mutex);
    if (inode->content == nullptr) return ok_status();
    stored = inode->content->extents.stored_page(page);
  }
  if (stored.is_zero()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<ExtentMap::Page> loaded, load_map_page(vault_->segments(), stored));
  const WriterLock lock(inode->mutex);
  if (inode->content != nullptr) inode->content->extents.install(page, stored, std::move(loaded));
  return ok_status();
}

Status TreeEngine::load_pages(const InodePointer& inode, std::initializer_list<std::uint64_t> indexes) {
  for (const std::uint64_t index : indexes) {
    for (;;) {
      std::optional<std::uint64_t> page;
      {
        const ReaderLock lock(inode->mutex);
        if (inode->content != nullptr) page = inode->content->extents.page_to_load(index);
      }
      if (!page.has_value()) break;
      VAULTFS_RETURN_IF_ERROR(load_page(inode, *page));
    }
  }
  return ok_status();
}

void TreeEngine::drop_chunk(DiskImage& image, std::map<std::uint64_t, DirtyChunk>::iterator chunk) {
  for (const JobPointer& job : chunk->second.storing) job->cancelled = true;
  image.dirty.erase(chunk);
}

void TreeEngine::zero_piece(const InodePointer& inode, std::uint64_t index, std::uint32_t begin, std::uint32_t end,
                            Lsn lsn) {
  DiskImage& image = *inode->content;
  const auto chunk = image.dirty.find(index);
  const bool storing = chunk != image.dirty.end() && !chunk->second.storing.empty();
  if (!storing && image.extents.get(index).is_zero()) {
    // Nothing lies below: what the slot forgets is zero.
    if (chunk == image.dirty.end()) return;
    Slot& slot = *chunk->second.active;
    slot.forget(begin, end);
    // The zeros in the journal must not outlive what is written here later.
    slot.raise_covers(lsn);
    if (slot.dirty().empty()) image.dirty.erase(chunk);
    return;
  }
  Slot& slot = active_slot(inode, index);
  buffer_.add_bytes(std::uint64_t{slot.write_zeros(begin, end)} * kSlotPageBytes);
  slot.journalled(begin, end, lsn);
  slot.set_changed(inode->changed);
}

void TreeEngine::zero_content(const InodePointer& inode, std::uint64_t begin, std::uint64_t end, std::uint64_t live_end,
                              Lsn lsn) {
  if (inode->content == nullptr || begin >= end) return;
  DiskImage& image = *inode->content;
  const std::uint64_t first_whole = begin / kChunkBytes + (begin % kChunkBytes != 0 ? 1 : 0);
  const std::uint64_t last_whole = end / kChunkBytes;
  const auto piece = [&](std::uint64_t from, std::uint64_t to) {
    inode->mutex.assert_held();
    const std::uint64_t index = from / kChunkBytes;
    const std::uint64_t start = index * kChunkBytes;
    space_.use_part(image.set_aside, index, static_cast<std::uint32_t>(from - start),
                    static_cast<std::uint32_t>(to - start));
    const std::uint64_t stop = std::max(from, std::min(to, live_end));
    zero_piece(inode, index, static_cast<std::uint32_t>(from - start), static_cast<std::uint32_t>(stop - start), lsn);
  };
  if (begin % kChunkBytes != 0) piece(begin, std::min(end, first_whole * kChunkBytes));
  if (first_whole < last_whole) {
    auto chunk = image.dirty.lower_bound(first_whole);
    while (chunk != image.dirty.end() && chunk->first < last_whole) drop_chunk(image, chunk++);
    note_unused(image, first_whole, last_whole);
    image.extents.clear(first_whole, last_whole);
    space_.use(image.set_aside, first_whole, last_whole);
  }
  if (end % kChunkBytes != 0 && last_whole >= first_whole) piece(last_whole * kChunkBytes, end);
}

Status TreeEngine::truncate(InodeNumber number, std::uint64_t size) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  if (size > kMaxFileBytes) return file_too_large();
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(load_pages(inode, {size / kChunkBytes}));
    const ChangeHold cut = gate_.lock_for_change(*inode);
    const WriterLock lock(inode->mutex);
    if (inode->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(readable(*inode));
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
      zero_content(inode, size, std::numeric_limits<std::uint64_t>::max() / kChunkBytes * kChunkBytes, old_size, lsn);
      resize(*inode, size);
      inode->journalled_size = std::min(inode->journalled_size, size);
      inode->attributes_dirty = inode->journalled_size != size;
      return ok_status();
    }
    resize(*inode, size);
    touch_content(*inode);
    inode->changed = changed;
    list_for_flush(inode);
    return ok_status();
  }
}

Status TreeEngine::zero_range(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend) {
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(load_pages(inode, {offset / kChunkBytes, (offset + length - 1) / kChunkBytes}));
    const ChangeHold cut = gate_.lock_for_change(*inode);
    const WriterLock lock(inode->mutex);
    if (inode->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(readable(*inode));
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
      zero_content(inode, offset, end, inode->size, lsn);
    }
    space_.give_back(inode->image().set_aside, offset, offset + length);
    if (extend && offset + length > inode->size) resize(*inode, offset + length);
    touch_content(*inode);
    inode->changed = changed;
    list_for_flush(inode);
    return ok_status();
  }
}

}  // namespace vaultfs
