#include "fs/content/set_aside.h"

#include <algorithm>
#include <iterator>

#include "fs/content/slot.h"

namespace vaultfs {

std::uint64_t SetAside::count(std::uint64_t begin, std::uint64_t end) const {
  std::uint64_t sum = 0;
  auto range = chunks_.upper_bound(begin);
  if (range != chunks_.begin()) --range;
  for (; range != chunks_.end() && range->first < end; ++range) {
    const std::uint64_t first = std::max(range->first, begin);
    const std::uint64_t last = std::min(range->second, end);
    if (first < last) sum += last - first;
  }
  return sum;
}

ByteRanges SetAside::rest(std::uint64_t index, std::uint64_t offset, std::uint64_t end) const {
  const std::uint64_t start = index * kChunkBytes;
  ByteRanges rest;
  if (const auto known = rest_.find(index); known != rest_.end()) {
    rest = known->second;
  } else if (count(index, index + 1) > 0) {
    rest.add(0, kChunkBytes);
  }
  rest.add(static_cast<std::uint32_t>(std::max(offset, start) - start),
           static_cast<std::uint32_t>(std::min<std::uint64_t>(end - start, kChunkBytes)));
  return rest;
}

std::uint64_t SetAside::bytes(const ExtentMap& extents) const {
  std::uint64_t sum = 0;
  for (const auto& [first, last] : chunks_) sum += (last - first) * kChunkBytes;
  for (const auto& [index, rest] : rest_) {
    // One that was stored in parts counts as a whole already.
    const bool stored = !extents.page_to_load(index).has_value() && !extents.get(index).is_zero();
    const std::uint64_t pages = (rest.total_bytes() + kSlotPageBytes - 1) / kSlotPageBytes;
    sum -= stored ? kChunkBytes : kChunkBytes - pages * kSlotPageBytes;
  }
  return sum;
}

void SetAside::add(std::uint64_t begin, std::uint64_t end) {
  auto next = chunks_.lower_bound(begin);
  if (next != chunks_.begin() && std::prev(next)->second == begin) {
    --next;
    begin = next->first;
    next = chunks_.erase(next);
  }
  if (next != chunks_.end() && next->first == end) {
    end = next->second;
    chunks_.erase(next);
  }
  chunks_.emplace(begin, end);
}

std::uint64_t SetAside::remove(std::uint64_t begin, std::uint64_t end) {
  std::uint64_t removed = 0;
  rest_.erase(rest_.lower_bound(begin), rest_.lower_bound(end));
  auto range = chunks_.upper_bound(begin);
  if (range != chunks_.begin()) --range;
  while (range != chunks_.end() && range->first < end) {
    const auto [first, last] = *range;
    if (last <= begin) {
      ++range;
      continue;
    }
    range = chunks_.erase(range);
    if (first < begin) chunks_.emplace(first, begin);
    if (last > end) chunks_.emplace(end, last);
    removed += std::min(last, end) - std::max(first, begin);
  }
  return removed;
}

}  // namespace vaultfs
