#include "fs/content/slot.h"

#include <algorithm>
#include <cstring>

namespace vaultfs {

std::uint32_t Slot::touch(std::uint32_t begin, std::uint32_t end) {
  std::uint32_t fresh = 0;
  for (std::uint32_t page = begin / kSlotPageBytes; page <= (end - 1) / kSlotPageBytes; ++page) {
    if (touched_.test(page)) continue;
    touched_.set(page);
    ++fresh;
  }
  recently_written_ = true;
  return resident_ ? 0 : fresh;
}

std::uint32_t Slot::write(std::uint32_t offset, ByteView bytes) {
  if (bytes.empty()) return 0;
  const auto end = offset + static_cast<std::uint32_t>(bytes.size());
  std::memcpy(memory_.data() + offset, bytes.data(), bytes.size());
  dirty_.add(offset, end);
  unjournalled_.add(offset, end);
  return touch(offset, end);
}

std::uint32_t Slot::write_zeros(std::uint32_t begin, std::uint32_t end) {
  if (begin >= end) return 0;
  std::memset(memory_.data() + begin, 0, end - begin);
  dirty_.add(begin, end);
  unjournalled_.add(begin, end);
  return touch(begin, end);
}

void Slot::forget(std::uint32_t begin, std::uint32_t end) {
  dirty_.remove(begin, end);
  unjournalled_.remove(begin, end);
}

std::uint32_t Slot::put_below(const Slot& older) {
  std::uint32_t fresh = 0;
  ByteRanges added;
  for (const ByteRanges::Range& range : older.dirty_.ranges()) {
    for (const ByteRanges::Range& part : dirty_.outside(range.begin, range.end)) {
      std::memcpy(memory_.data() + part.begin, older.memory_.data() + part.begin, part.end - part.begin);
      fresh += touch(part.begin, part.end);
      added.add(part.begin, part.end);
    }
  }
  for (const ByteRanges::Range& part : added.ranges()) {
    dirty_.add(part.begin, part.end);
    for (const ByteRanges::Range& owed : older.unjournalled_.inside(part.begin, part.end)) {
      unjournalled_.add(owed.begin, owed.end);
    }
  }
  covers_ = std::max(covers_, older.covers_);
  changed_ = std::max(changed_, older.changed_);
  return fresh;
}

void Slot::copy_to(std::uint32_t begin, std::uint32_t end, std::byte* out) const {
  for (const ByteRanges::Range& part : dirty_.inside(begin, end)) {
    std::memcpy(out + (part.begin - begin), memory_.data() + part.begin, part.end - part.begin);
  }
}

void Slot::journalled(Lsn lsn) {
  unjournalled_.clear();
  raise_covers(lsn);
}

void Slot::journalled(std::uint32_t begin, std::uint32_t end, Lsn lsn) {
  unjournalled_.remove(begin, end);
  raise_covers(lsn);
}

}  // namespace vaultfs
