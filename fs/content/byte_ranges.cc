#include "fs/content/byte_ranges.h"

#include <algorithm>

namespace vaultfs {

std::vector<ByteRanges::Range>::const_iterator ByteRanges::first_ending_after(std::uint32_t position) const noexcept {
  return std::upper_bound(ranges_.begin(), ranges_.end(), position,
                          [](std::uint32_t at, const Range& range) { return at < range.end; });
}

void ByteRanges::add(std::uint32_t begin, std::uint32_t end) {
  if (begin >= end) return;
  // A sequential writer extends the last range: no search, no move.
  if (!ranges_.empty() && ranges_.back().end == begin) {
    ranges_.back().end = end;
    return;
  }
  // Everything that overlaps or touches [begin, end) melts into it.
  const auto first = std::lower_bound(ranges_.begin(), ranges_.end(), begin,
                                      [](const Range& range, std::uint32_t at) { return range.end < at; });
  auto last = first;
  while (last != ranges_.end() && last->begin <= end) {
    begin = std::min(begin, last->begin);
    end = std::max(end, last->end);
    ++last;
  }
  if (first == last) {
    ranges_.insert(first, {begin, end});
    return;
  }
  *first = {begin, end};
  ranges_.erase(first + 1, last);
}

void ByteRanges::remove(std::uint32_t begin, std::uint32_t end) {
  if (begin >= end) return;
  std::vector<Range> kept;
  kept.reserve(ranges_.size() + 1);
  for (const Range& range : ranges_) {
    if (range.begin < begin) kept.push_back({range.begin, std::min(range.end, begin)});
    if (range.end > end) kept.push_back({std::max(range.begin, end), range.end});
  }
  ranges_ = std::move(kept);
}

bool ByteRanges::covers(std::uint32_t begin, std::uint32_t end) const noexcept {
  if (begin >= end) return true;
  const auto found = first_ending_after(begin);
  return found != ranges_.end() && found->begin <= begin && found->end >= end;
}

std::uint32_t ByteRanges::total_bytes() const noexcept {
  std::uint32_t sum = 0;
  for (const Range& range : ranges_) sum += range.end - range.begin;
  return sum;
}

std::vector<ByteRanges::Range> ByteRanges::inside(std::uint32_t begin, std::uint32_t end) const {
  std::vector<Range> parts;
  for (auto range = first_ending_after(begin); range != ranges_.end() && range->begin < end; ++range) {
    parts.push_back({std::max(range->begin, begin), std::min(range->end, end)});
  }
  return parts;
}

std::vector<ByteRanges::Range> ByteRanges::outside(std::uint32_t begin, std::uint32_t end) const {
  std::vector<Range> parts;
  std::uint32_t position = begin;
  for (auto range = first_ending_after(begin); range != ranges_.end() && range->begin < end; ++range) {
    if (range->begin > position) parts.push_back({position, range->begin});
    position = range->end;
  }
  if (position < end) parts.push_back({position, end});
  return parts;
}

}  // namespace vaultfs
