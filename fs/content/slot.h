#pragma once

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "fs/content/byte_ranges.h"
#include "fs/content/slot_memory.h"

namespace vaultfs {

inline constexpr std::uint32_t kSlotPageBytes = 4096;
inline constexpr std::uint32_t kSlotPages = kChunkBytes / kSlotPageBytes;

// Newer content of one chunk of a file: the bytes in `dirty` replace what the chunk below has. Bytes outside are
// undefined. Guarded by the inode's mutex; once a worker stores it, it is read by that worker without the lock.
class Slot {
 public:
  // `resident`: the memory is recycled, so that all of it counts from the start.
  Slot(SlotMemory memory, bool resident, Lsn covers)
      : memory_(std::move(memory)), resident_(resident), covers_(covers) {}

  // Copies bytes to `offset` of the chunk, or zeros. Gives how many pages more take memory now.
  std::uint32_t write(std::uint32_t offset, ByteView bytes);
  std::uint32_t write_zeros(std::uint32_t begin, std::uint32_t end);
  // The range is as below again.
  void forget(std::uint32_t begin, std::uint32_t end);
  // Puts an older slot below this one: its bytes count where this slot has none. Pages that take memory now.
  std::uint32_t put_below(const Slot& older);
  // The dirty ranges inside [begin, end) copied to out, which starts at `begin`.
  void copy_to(std::uint32_t begin, std::uint32_t end, std::byte* out) const;

  // All that is to be journalled has been, by an entry with this LSN.
  void journalled(Lsn lsn);
  // The ranges just written are known to the journal already (a truncation, a punched hole), by this entry.
  void journalled(std::uint32_t begin, std::uint32_t end, Lsn lsn);
  void raise_covers(Lsn lsn) { covers_ = std::max(covers_, lsn); }

  [[nodiscard]] const ByteRanges& dirty() const noexcept { return dirty_; }
  [[nodiscard]] const ByteRanges& unjournalled() const noexcept { return unjournalled_; }
  [[nodiscard]] bool full() const noexcept { return dirty_.covers(0, kChunkBytes); }
  [[nodiscard]] std::uint32_t touched_pages() const noexcept { return static_cast<std::uint32_t>(touched_.count()); }
  [[nodiscard]] std::uint32_t resident_pages() const noexcept { return resident_ ? kSlotPages : touched_pages(); }
  [[nodiscard]] MutableByteView memory() const noexcept { return memory_.view(); }
  // Every journalled fragment of this chunk up to this LSN is contained in this slot or in what lies below it.
  [[nodiscard]] Lsn covers() const noexcept { return covers_; }
  // See Inode::changed.
  [[nodiscard]] Lsn changed() const noexcept { return changed_; }
  void set_changed(Lsn lsn) noexcept { changed_ = std::max(changed_, lsn); }
  // Second chance of the eviction: true if written since the last call.
  [[nodiscard]] bool take_recently_written() noexcept { return recently_written_.exchange(false); }

 private:
  std::uint32_t touch(std::uint32_t begin, std::uint32_t end);

  SlotMemory memory_;
  const bool resident_;
  ByteRanges dirty_;
  ByteRanges unjournalled_;  // a subset of dirty_
  std::bitset<kSlotPages> touched_;
  Lsn covers_;
  Lsn changed_;
  std::atomic<bool> recently_written_{true};  // also read by the write buffer, without the inode's mutex
};

}  // namespace vaultfs
