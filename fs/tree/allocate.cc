// fallocate: space for what will be written, and holes.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/inode_locks.h"
#include "fs/tree/tree_engine.h"
#include "fs/tree/tree_errors.h"

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
  image.set_aside_rest.erase(image.set_aside_rest.lower_bound(begin), image.set_aside_rest.lower_bound(end));
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

void TreeEngine::use_set_aside_part(DiskImage& image, std::uint64_t index, std::uint32_t begin, std::uint32_t end) {
  if (image.set_aside.empty() || count_set_aside(image, index, index + 1) == 0) return;
  const auto [rest, added] = image.set_aside_rest.try_emplace(index);
  if (added) rest->second.add(0, kChunkBytes);
  rest->second.remove(begin, end);
  if (rest->second.empty()) use_set_aside(image, index, index + 1);
}

void TreeEngine::give_back_set_aside(DiskImage& image, std::uint64_t offset, std::uint64_t end) {
  if (image.set_aside.empty() || offset >= end) return;
  const std::uint64_t first = offset / kChunkBytes;
  const std::uint64_t last = (end - 1) / kChunkBytes;
  const auto within = [&](std::uint64_t at, std::uint64_t index) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(at - index * kChunkBytes, kChunkBytes));
  };
  use_set_aside_part(image, first, within(offset, first), within(end, first));
  if (last == first) return;
  use_set_aside(image, first + 1, last);
  use_set_aside_part(image, last, 0, within(end, last));
}

ByteRanges TreeEngine::set_aside_rest(const DiskImage& image, std::uint64_t index, std::uint64_t offset,
                                      std::uint64_t end) {
  const std::uint64_t start = index * kChunkBytes;
  ByteRanges rest;
  if (const auto known = image.set_aside_rest.find(index); known != image.set_aside_rest.end()) {
    rest = known->second;
  } else if (count_set_aside(image, index, index + 1) > 0) {
    rest.add(0, kChunkBytes);
  }
  rest.add(static_cast<std::uint32_t>(std::max(offset, start) - start),
           static_cast<std::uint32_t>(std::min<std::uint64_t>(end - start, kChunkBytes)));
  return rest;
}

TreeEngine::Promise TreeEngine::promise_for(const Inode& inode, std::uint64_t offset, std::uint64_t length) {
  if (inode.content == nullptr) return {};
  const std::uint64_t first = offset / kChunkBytes;
  const std::uint64_t end = (offset + length - 1) / kChunkBytes + 1;
  const std::uint64_t chunks = count_set_aside(*inode.content, first, end);
  return {chunks, chunks == end - first};
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

std::uint64_t TreeEngine::bytes_set_aside(const DiskImage& image) {
  std::uint64_t sum = 0;
  for (const auto& [first, last] : image.set_aside) sum += (last - first) * kChunkBytes;
  for (const auto& [index, rest] : image.set_aside_rest) {
    // One that was stored in parts counts as a whole already.
    const bool stored = !image.extents.page_to_load(index).has_value() && !image.extents.get(index).is_zero();
    const std::uint64_t pages = (rest.total_bytes() + kSlotPageBytes - 1) / kSlotPageBytes;
    sum -= stored ? kChunkBytes : kChunkBytes - pages * kSlotPageBytes;
  }
  return sum;
}

Status TreeEngine::allocate(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend) {
  // Whether there is room is asked without a lock: a disk that stands still answers late.
  for (std::optional<std::uint64_t> room;;) {
    VAULTFS_ASSIGN_OR_RETURN(room, allocate_within(inode, offset, length, extend, room));
    if (!room.has_value()) return ok_status();
    VAULTFS_RETURN_IF_ERROR(space_->check(promised_bytes(), *room * kStoredChunkBytes));
  }
}

Result<std::optional<std::uint64_t>> TreeEngine::allocate_within(const InodePointer& inode, std::uint64_t offset,
                                                                 std::uint64_t length, bool extend,
                                                                 std::optional<std::uint64_t> room) {
  const std::uint64_t begin = offset / kChunkBytes;
  const std::uint64_t end = (offset + length + kChunkBytes - 1) / kChunkBytes;
  const ChangeHold cut = lock_for_change(*inode);
  const WriterLock lock(inode->mutex);
  if (inode->dead) return file_removed();
  VAULTFS_RETURN_IF_ERROR(readable(*inode));
  DiskImage& image = inode->image();
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
  if (!room.has_value() || chunks > *room) return std::optional(chunks);
  VAULTFS_RETURN_IF_ERROR(drop_capability(*inode));
  // Of the first and the last chunk the range may have a part only.
  std::map<std::uint64_t, ByteRanges> edges;
  for (const std::uint64_t edge : {begin, end - 1}) edges[edge] = set_aside_rest(image, edge, offset, offset + length);
  for (const auto& [first, last] : holes) set_aside(image, first, last);
  for (auto& [edge, rest] : edges) {
    const bool counted = count_set_aside(image, edge, edge + 1) > 0;
    if (counted && !rest.covers(0, kChunkBytes)) image.set_aside_rest[edge] = std::move(rest);
  }
  // What is in memory is accepted already.
  for (auto chunk = image.dirty.lower_bound(begin); chunk != image.dirty.end() && chunk->first < end; ++chunk) {
    const auto accepted = [&](const Slot& slot) {
      for (const ByteRanges::Range& range : slot.dirty().ranges()) {
        use_set_aside_part(image, chunk->first, range.begin, range.end);
      }
    };
    for (const JobPointer& job : chunk->second.storing) accepted(*job->slot);
    if (chunk->second.active != nullptr) accepted(*chunk->second.active);
  }
  inode->changed = stamp(*inode);
  if (extend && offset + length > inode->size) resize(*inode, offset + length);
  // As on other file systems, also where the size stays.
  touch_content(*inode);
  list_for_flush(inode);
  return std::optional<std::uint64_t>();
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
    case FallocateMode::allocate_keep_size: {
      const bool extend = mode == FallocateMode::allocate;
      const Status allocated = allocate(inode, offset, length, extend);
      if (allocated.ok() || allocated.code() != ErrorCode::NoSpace || buffer_.slots() == 0) return allocated;
      // As for a write: what is in memory may take far less than its worst case.
      store_everything();
      return allocate(inode, offset, length, extend);
    }
  }
  return Error{ErrorCode::InvalidArgument, "unknown mode"};
}

}  // namespace vaultfs
