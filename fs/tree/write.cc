// Accepting bytes.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Result<WriteBuffer::Reservation> TreeEngine::admit_bytes(std::uint64_t bytes, const SpacePromises::Share& share) {
  Status space = space_.check_write(bytes, share);
  if (!space.ok() && space.code() == ErrorCode::NoSpace && buffer_.slots() > 0) {
    // The worst case of what is in memory is far from what it takes in the end: store it, then look again.
    contents_.store_all(table_.files());
    space = space_.check_write(bytes, share);
  }
  VAULTFS_RETURN_IF_ERROR(space);
  const std::uint64_t pages = bytes / kSlotPageBytes + 2;
  return buffer_.reserve(pages * kSlotPageBytes,
                         [this](const WriteBuffer::Victim& victim) { contents_.evict(victim); });
}

Result<std::uint64_t> TreeEngine::write_at(InodeNumber number, std::uint64_t handle,
                                           std::optional<std::uint64_t> offset, ByteView bytes) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  VAULTFS_RETURN_IF_ERROR(open_files_.take_error(handle));
  VAULTFS_RETURN_IF_ERROR(open_files_.check_write_access(*inode, handle));
  if (bytes.size() > kMaxFileBytes || offset.value_or(0) > kMaxFileBytes - bytes.size()) return file_too_large();
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  SpacePromises::Share share;
  if (space_.any_set_aside() && !bytes.empty()) {
    const ReaderLock lock(inode->mutex);
    if (inode->content != nullptr)
      share = SpacePromises::share(inode->content->set_aside, offset.value_or(inode->size), bytes.size());
  }
  VAULTFS_ASSIGN_OR_RETURN(WriteBuffer::Reservation room, admit_bytes(bytes.size(), share));

  const ChangeHold cut = gate_.lock_for_change(*inode);
  const WriterLock lock(inode->mutex);
  if (inode->dead) return Error{ErrorCode::NotFound, "the file was removed"};
  VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
  const std::uint64_t begin = offset.value_or(inode->size);
  if (begin > kMaxFileBytes - bytes.size()) return file_too_large();
  if (bytes.empty()) return begin;
  VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
  const Lsn changed = log_.stamp(*inode);
  const std::uint64_t end = begin + bytes.size();
  // Before the slots are filled: a full one is stored up to the end of the file.
  if (end > inode->size) resize(*inode, end);
  for (std::uint64_t at = begin; at < end;) {
    const auto within = static_cast<std::uint32_t>(at % kChunkBytes);
    const std::uint64_t part = std::min<std::uint64_t>(kChunkBytes - within, end - at);
    contents_.write_piece(inode, at / kChunkBytes, within, bytes.subspan(at - begin, part), room, changed);
    at += part;
  }
  touch_content(*inode);
  inode->changed = changed;
  flush_.list(inode);
  written_bytes_ += bytes.size();
  return begin;
}

Status TreeEngine::write(InodeNumber inode, std::uint64_t handle, std::uint64_t offset, ByteView bytes) {
  VAULTFS_RETURN_IF_ERROR(write_at(inode, handle, offset, bytes));
  return ok_status();
}

Result<std::uint64_t> TreeEngine::append(InodeNumber inode, std::uint64_t handle, ByteView bytes) {
  return write_at(inode, handle, std::nullopt, bytes);
}

Status TreeEngine::set_chunk(InodeNumber number, ChunkIndexInFile index, const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  if (index.value >= kMaxFileBytes / kChunkBytes) return file_too_large();
  if (!open_files_.is_reserved(*inode))
    return Error{ErrorCode::InvalidArgument, "chunks are set in a reserved file only"};
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {index.value}));
    const ChangeHold cut = gate_.lock_for_change(*inode);
    const WriterLock lock(inode->mutex);
    if (inode->dead) return Error{ErrorCode::NotFound, "the file was removed"};
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
    DiskImage& image = inode->image();
    if (image.extents.page_to_load(index.value).has_value()) continue;
    const Lsn changed = log_.stamp(*inode);
    TreeEntryWriter entry;
    entry.add(SetExtent{number, changed, index.value, id, log_.last_appended()});
    VAULTFS_RETURN_IF_ERROR(log_.append(std::move(entry)));
    space_.use(image.set_aside, index.value, index.value + 1);
    if (const auto chunk = image.dirty.find(index.value); chunk != image.dirty.end())
      FileContents::drop_chunk(image, chunk);
    if (image.extents.get(index.value) != id) contents_.note_unused(image, index.value, index.value + 1);
    image.extents.set(index.value, id);
    inode->mtime = inode->ctime = now();
    inode->changed = changed;
    inode->attributes_dirty = true;
    flush_.list(inode);
    return ok_status();
  }
}

}  // namespace vaultfs
