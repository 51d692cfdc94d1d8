// copy_file_range: whole chunks by sharing their ids, the rest by copying bytes.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"
#include "vaultmeta/points/damage_walk.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kChunksAtOnce = 256;            // in one journal entry
constexpr std::uint64_t kMaxSharedBytes = 16ULL << 30;  // of one call: it must stay short enough to be interrupted
constexpr std::uint64_t kMaxCopiedBytes = 16ULL << 20;  // likewise

}  // namespace

bool TreeEngine::pages_loaded(const InodePointer& inode, std::uint64_t first, std::uint64_t count) {
  if (inode->content == nullptr) return true;
  const ExtentMap& extents = inode->content->extents;
  return !extents.page_to_load(first).has_value() && !extents.page_to_load(first + count - 1).has_value();
}

bool TreeEngine::may_share(const ChunkShare& share, std::uint64_t i, const ChunkId& id) const {
  // What is known to be damaged is not spread: it is read, and whoever copies hears of it.
  if (!id.is_zero() && !vault_->segments().contains(id)) return false;
  const bool damage_known = !id.is_zero() && vault_->catalogue().damage_count() > 0;
  if (damage_known && look_at_marks(vault_->segments(), id).has_value()) return false;
  const std::uint64_t bytes = share.bytes_of(i);
  if (bytes == kChunkBytes) return true;
  // Part of a chunk counts as a whole only where nothing follows in the target, and nothing comes with it that a later
  // growth would show.
  if (share.to->size > share.end) return false;
  if (id.is_zero()) return true;
  const Result<std::uint32_t> length = vault_->segments().length(id);
  return length.ok() && *length <= bytes;
}

Status TreeEngine::put_references(const ChunkShare& share, const std::vector<ChunkId>& ids) {
  Inode& inode = *share.to;
  inode.mutex.assert_held();
  VAULTFS_RETURN_IF_ERROR(drop_capability(inode));
  const Lsn changed = log_.stamp(inode);
  const Lsn covers = log_.last_appended();
  // A compaction that has looked at this file already must hear of them.
  for (const ChunkId& id : ids) VAULTFS_RETURN_IF_ERROR(vault_->segments().retain(id));
  TreeEntryWriter entry;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    entry.add(SetExtent{inode.number, changed, share.first + i, ids[i], covers});
  }
  VAULTFS_RETURN_IF_ERROR(log_.append(std::move(entry)));
  DiskImage& image = inode.image();
  space_.use(image.set_aside, share.first, share.first + ids.size());
  contents_.note_unused(image, share.first, share.first + ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint64_t index = share.first + i;
    if (const auto chunk = image.dirty.find(index); chunk != image.dirty.end()) FileContents::drop_chunk(image, chunk);
    image.extents.set(index, ids[i]);
  }
  const std::uint64_t end = std::min(share.end, (share.first + ids.size()) * kChunkBytes);
  if (end > inode.size) resize(inode, end);
  touch_content(inode);
  inode.changed = changed;
  flush_.list(share.to);
  return ok_status();
}

Result<std::uint64_t> TreeEngine::share_chunks(const InodePointer& from, std::uint64_t first_from,
                                               const ChunkShare& share, std::uint64_t count) {
  contents_.store_range(from, first_from, count);
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(from, {first_from, first_from + count - 1}));
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(share.to, {share.first, share.first + count - 1}));
    const ReaderLock cut(gate_.changes());
    const InodeLocks locks{from.get(), share.to.get()};
    from->mutex.assert_held();
    share.to->mutex.assert_held();
    if (from->dead || share.to->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*from));
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*share.to));
    if (!pages_loaded(from, first_from, count) || !pages_loaded(share.to, share.first, count)) continue;
    std::vector<ChunkId> ids;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t index = first_from + i;
      // Cut off, or written to, since it was looked at: whoever asked goes on from here.
      if (from->size < index * kChunkBytes + share.bytes_of(i)) break;
      if (from->content != nullptr && from->content->dirty.contains(index)) break;
      const ChunkId id = from->content == nullptr ? ChunkId{} : from->content->extents.get(index);
      if (!may_share(share, i, id)) break;
      ids.push_back(id);
    }
    if (ids.empty()) return std::uint64_t{0};
    VAULTFS_RETURN_IF_ERROR(put_references(share, ids));
    return static_cast<std::uint64_t>(ids.size());
  }
}

Result<std::uint64_t> TreeEngine::share_point_chunks(FileTree& point, InodeNumber from, std::uint64_t first_from,
                                                     const ChunkShare& share, std::uint64_t count) {
  std::vector<ChunkId> ids;
  for (std::uint64_t i = 0; i < count; ++i) {
    VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkId> id, point.chunk_at(from, ChunkIndexInFile(first_from + i)));
    if (!id.has_value()) break;
    ids.push_back(*id);
  }
  if (ids.empty()) return std::uint64_t{0};
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(share.to, {share.first, share.first + count - 1}));
    const ReaderLock cut(gate_.changes());
    const WriterLock lock(share.to->mutex);
    if (share.to->dead) return file_removed();
    VAULTFS_RETURN_IF_ERROR(FileContents::readable(*share.to));
    if (!pages_loaded(share.to, share.first, count)) continue;
    while (!ids.empty() && !may_share(share, ids.size() - 1, ids.back())) ids.pop_back();
    if (ids.empty()) return std::uint64_t{0};
    VAULTFS_RETURN_IF_ERROR(put_references(share, ids));
    return static_cast<std::uint64_t>(ids.size());
  }
}

Result<std::uint64_t> TreeEngine::copy_bytes(FileTree& source, CopyEnd from, CopyEnd to, std::uint64_t handle,
                                             std::uint64_t length) {
  Bytes piece(std::min<std::uint64_t>(length, kChunkBytes));
  std::uint64_t done = 0;
  while (done < length) {
    const std::size_t wanted = std::min<std::uint64_t>(piece.size(), length - done);
    Result<std::size_t> got = source.read(from.inode, from.offset + done, MutableByteView(piece).first(wanted));
    Status status = got.ok() ? ok_status() : Status(got.error());
    if (status.ok() && *got == 0) break;
    if (status.ok()) status = write(to.inode, handle, to.offset + done, ByteView(piece).first(*got));
    // What was copied was copied; the next call finds the same error.
    if (!status.ok() && done > 0) break;
    VAULTFS_RETURN_IF_ERROR(status);
    done += *got;
  }
  return done;
}

Result<std::uint64_t> TreeEngine::copy_range(FileTree& source, CopyEnd from, CopyEnd to, std::uint64_t handle,
                                             std::uint64_t length) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer target, table_.find_file(to.inode));
  VAULTFS_ASSIGN_OR_RETURN(const Attributes original, source.attributes(from.inode));
  if (original.type != InodeType::file) return Error{ErrorCode::InvalidArgument, "only a regular file has content"};
  VAULTFS_RETURN_IF_ERROR(open_files_.take_error(handle));
  VAULTFS_RETURN_IF_ERROR(open_files_.check_write_access(*target, handle));
  if (from.offset >= original.size) return std::uint64_t{0};
  length = std::min({length, original.size - from.offset, kMaxSharedBytes});
  if (length > kMaxFileBytes || to.offset > kMaxFileBytes - length)
    return Error{ErrorCode::FileTooLarge, "a file has at most 1 PiB"};
  const bool own = &source == this;
  if (own && from.inode == to.inode && from.offset < to.offset + length && to.offset < from.offset + length)
    return Error{ErrorCode::InvalidArgument, "the ranges overlap"};
  VAULTFS_RETURN_IF_ERROR(log_.before_change(target->item));
  const std::uint64_t within = from.offset % kChunkBytes;
  if (within != to.offset % kChunkBytes) return copy_bytes(source, from, to, handle, std::min(length, kMaxCopiedBytes));
  if (within != 0) return copy_bytes(source, from, to, handle, std::min(length, kChunkBytes - within));

  InodePointer origin;
  if (own) {
    VAULTFS_ASSIGN_OR_RETURN(origin, table_.find_file(from.inode));
  }
  std::uint64_t done = 0;
  while (done < length) {
    const CopyEnd at{from.inode, from.offset + done};
    const CopyEnd onto{to.inode, to.offset + done};
    const std::uint64_t left = length - done;
    std::uint64_t count = std::min(left / kChunkBytes, kChunksAtOnce);
    if (left < kChunkBytes) {
      // The source's last chunk counts as a whole where it becomes the target's last one.
      const ReaderLock lock(target->mutex);
      if (at.offset + left == original.size && target->size <= onto.offset + left) count = 1;
    }
    std::uint64_t shared = 0;
    if (count > 0) {
      const ChunkShare share{target, onto.offset / kChunkBytes, onto.offset + left};
      Result<std::uint64_t> outcome =
          own ? share_chunks(origin, at.offset / kChunkBytes, share, count)
              : share_point_chunks(source, from.inode, at.offset / kChunkBytes, share, count);
      if (!outcome.ok() && done > 0) return done;
      VAULTFS_ASSIGN_OR_RETURN(shared, std::move(outcome));
    }
    if (shared > 0) {
      done += std::min(left, shared * kChunkBytes);
      continue;
    }
    Result<std::uint64_t> copied = copy_bytes(source, at, onto, handle, std::min<std::uint64_t>(left, kChunkBytes));
    if (!copied.ok() && done > 0) return done;
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t bytes, std::move(copied));
    if (bytes == 0) return done;
    done += bytes;
  }
  return done;
}

}  // namespace vaultfs
