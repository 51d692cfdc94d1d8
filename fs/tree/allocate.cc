// fallocate: space for what will be written, and holes.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Status TreeEngine::allocate(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend) {
  // Whether there is room is asked without a lock: a disk that stands still answers late.
  for (std::optional<std::uint64_t> room;;) {
    VAULTFS_ASSIGN_OR_RETURN(room, allocate_within(inode, offset, length, extend, room));
    if (!room.has_value()) return ok_status();
    VAULTFS_RETURN_IF_ERROR(space_.check(*room * kStoredChunkBytes));
  }
}

Result<std::optional<std::uint64_t>> TreeEngine::allocate_within(const InodePointer& inode, std::uint64_t offset,
                                                                 std::uint64_t length, bool extend,
                                                                 std::optional<std::uint64_t> room) {
  const std::uint64_t begin = offset / kChunkBytes;
  const std::uint64_t end = (offset + length + kChunkBytes - 1) / kChunkBytes;
  const ChangeHold cut = gate_.lock_for_change(*inode);
  const WriterLock lock(inode->mutex);
  if (inode->dead) return file_removed();
  VAULTFS_RETURN_IF_ERROR(FileContents::readable(*inode));
  DiskImage& image = inode->image();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holes;
  std::uint64_t chunks = 0;
  for (std::uint64_t index = begin; index < end;) {
    // What is mapped, or may be (a page that is not loaded), has its space; overwriting it is a matter of its own.
    const std::uint64_t hole_end = std::min(end, image.extents.next_candidate(index).value_or(end));
    if (hole_end > index) {
      holes.emplace_back(index, hole_end);
      chunks += hole_end - index - image.set_aside.count(index, hole_end);
      index = hole_end;
      continue;
    }
    if (!image.extents.page_to_load(index).has_value() && image.extents.get(index).is_zero()) {
      holes.emplace_back(index, index + 1);
      chunks += 1 - image.set_aside.count(index, index + 1);
    }
    ++index;
  }
  if (!room.has_value() || chunks > *room) return std::optional(chunks);
  VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
  // Of the first and the last chunk the range may have a part only.
  std::map<std::uint64_t, ByteRanges> edges;
  for (const std::uint64_t edge : {begin, end - 1}) edges[edge] = image.set_aside.rest(edge, offset, offset + length);
  for (const auto& [first, last] : holes) space_.set_aside(image.set_aside, first, last);
  for (auto& [edge, rest] : edges) {
    const bool counted = image.set_aside.count(edge, edge + 1) > 0;
    if (counted && !rest.covers(0, kChunkBytes)) SpacePromises::keep_rest(image.set_aside, edge, std::move(rest));
  }
  // What is in memory is accepted already.
  for (auto chunk = image.dirty.lower_bound(begin); chunk != image.dirty.end() && chunk->first < end; ++chunk) {
    const auto accepted = [&](const Slot& slot) {
      for (const ByteRanges::Range& range : slot.dirty().ranges()) {
        space_.use_part(image.set_aside, chunk->first, range.begin, range.end);
      }
    };
    for (const JobPointer& job : chunk->second.storing) accepted(*job->slot);
    if (chunk->second.active != nullptr) accepted(*chunk->second.active);
  }
  inode->changed = log_.stamp(*inode);
  if (extend && offset + length > inode->size) resize(*inode, offset + length);
  // As on other file systems, also where the size stays.
  touch_content(*inode);
  flush_.list(inode);
  return std::optional<std::uint64_t>();
}

Status TreeEngine::fallocate(InodeNumber number, FallocateMode mode, std::uint64_t offset, std::uint64_t length) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_file(number));
  if (length == 0) return Error{ErrorCode::InvalidArgument, "an empty range"};
  if (length > kMaxFileBytes || offset > kMaxFileBytes - length) return file_too_large();
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  switch (mode) {
    case FallocateMode::punch_hole:
    case FallocateMode::zero_range_keep_size:
      return zero_range(inode, offset, length, false);
    case FallocateMode::zero_range:
      return zero_range(inode, offset, length, true);
    case FallocateMode::allocate:
    case FallocateMode::allocate_keep_size: {
      const bool extend = mode == FallocateMode::allocate;
      const Status allocated = allocate(inode, offset, length, extend);
      if (allocated.ok() || allocated.code() != ErrorCode::NoSpace || buffer_.slots() == 0) return allocated;
      // As for a write: what is in memory may take far less than its worst case.
      contents_.store_all(table_.files());
      return allocate(inode, offset, length, extend);
    }
  }
  return Error{ErrorCode::InvalidArgument, "unknown mode"};
}

}  // namespace vaultfs
