// fallocate: space for what will be written, and holes.
#include <algorithm>
#include <mutex>

#include "fs/inode_locks.h"
#include "fs/tree_engine.h"
#include "fs/tree_errors.h"

namespace vaultfs {
void TreeEngine::set_aside(DiskImage& image, std::uint64_t begin, std::uint64_t end) {
  use_set_aside(image, begin, end);
  set_aside_chunks_ += end - begin;
  auto next = image.set_aside.lower_bound(begin);
  if (next != image.set_aside.begin() && std::prev(next)->second == begin) {
    --next;
    begin = next->first;
    next = image.set_aside.erase(next);
  }
  if (next != image.set_aside.end() && next->first == end) {
    end = next->second;
    image.set_aside.erase(next);
  }
  image.set_aside.emplace(begin, end);
}

void TreeEngine::use_set_aside(DiskImage& image, std::uint64_t begin, std::uint64_t end) {
  if (image.set_aside.empty() || begin >= end) return;
  auto range = image.set_aside.upper_bound(begin);
  if (range != image.set_aside.begin()) --range;
  while (range != image.set_aside.end() && range->first < end) {
    const auto [first, last] = *range;
    if (last <= begin) {
      ++range;
      continue;
    }
    range = image.set_aside.erase(range);
    if (first < begin) image.set_aside.emplace(first, begin);
    if (last > end) image.set_aside.emplace(end, last);
    set_aside_chunks_ -= std::min(last, end) - std::max(first, begin);
  }
}

std::uint64_t TreeEngine::count_set_aside(const DiskImage& image, std::uint64_t begin, std::uint64_t end) {
  std::uint64_t sum = 0;
  auto range = image.set_aside.upper_bound(begin);
  if (range != image.set_aside.begin()) --range;
  for (; range != image.set_aside.end() && range->first < end; ++range) {
    const std::uint64_t first = std::max(range->first, begin);
    const std::uint64_t last = std::min(range->second, end);
    if (first < last) sum += last - first;
  }
  return sum;
}

Status TreeEngine::allocate(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend) {
  const std::uint64_t begin = offset / kChunkBytes;
  const std::uint64_t end = (offset + length + kChunkBytes - 1) / kChunkBytes;
  const std::shared_lock cut(cut_);
  const std::unique_lock lock(inode->mutex);
  if (inode->dead) return file_removed();
  VAULTFS_RETURN_IF_ERROR(readable(*inode));
  DiskImage& image = inode->image();
  VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holes;
  std::uint64_t chunks = 0;
  for (std::uint64_t index = begin; index < end;) {
    // What is mapped, or may be (a page that is not loaded), has its space; overwriting it is a matter of its own.
    const std::uint64_t hole_end = std::min(end, image.extents.next_candidate(index).value_or(end));
    if (hole_end > index) {
      holes.emplace_back(index, hole_end);
      chunks += hole_end - index - count_set_aside(image, index, hole_end);
      index = hole_end;
      continue;
    }
    if (!image.extents.page_to_load(index).has_value() && image.extents.get(index).is_zero()) {
      holes.emplace_back(index, index + 1);
      chunks += 1 - count_set_aside(image, index, index + 1);
    }
    ++index;
  }
  VAULTFS_RETURN_IF_ERROR(space_->check(promised_bytes(), chunks * (kChunkBytes + kSlotPageBytes)));
  for (const auto& [first, last] : holes) set_aside(image, first, last);
  // Those that have a slot are counted by it.
  for (auto chunk = image.dirty.lower_bound(begin); chunk != image.dirty.end() && chunk->first < end; ++chunk) {
    use_set_aside(image, chunk->first, chunk->first + 1);
  }
  if (!extend || offset + length <= inode->size) return ok_status();
  inode->changed = stamp(*inode);
  resize(*inode, offset + length);
  inode->mtime = inode->ctime = now();
  inode->attributes_dirty = true;
  list_for_flush(inode);
  return ok_status();
}

Status TreeEngine::fallocate(InodeNumber number, FallocateMode mode, std::uint64_t offset, std::uint64_t length) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, find_file(number));
  if (length == 0) return Error{ErrorCode::InvalidArgument, "an empty range"};
  if (length > kMaxFileBytes || offset > kMaxFileBytes - length) return file_too_large();
  VAULTFS_RETURN_IF_ERROR(before_change(inode->item));
  switch (mode) {
    case FallocateMode::punch_hole:
    case FallocateMode::zero_range_keep_size:
      return zero_range(inode, offset, length, false);
    case FallocateMode::zero_range:
      return zero_range(inode, offset, length, true);
    case FallocateMode::allocate:
      return allocate(inode, offset, length, true);
    case FallocateMode::allocate_keep_size:
      return allocate(inode, offset, length, false);
  }
  return Error{ErrorCode::InvalidArgument, "unknown mode"};
}

}  // namespace vaultfs
