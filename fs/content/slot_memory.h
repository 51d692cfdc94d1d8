#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/thread/mutex.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

class SlotMemoryPool;

// One buffer of kChunkBytes from the pool, whose pages take memory when they are first touched. Its content is whatever
// the last user left. Goes back to the pool by itself; movable.
class SlotMemory {
 public:
  SlotMemory() = default;
  SlotMemory(SlotMemory&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}
  SlotMemory(const SlotMemory&) = delete;
  SlotMemory& operator=(const SlotMemory&) = delete;
  SlotMemory& operator=(SlotMemory&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~SlotMemory();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] MutableByteView view() const noexcept { return {data_, kChunkBytes}; }

 private:
  friend class SlotMemoryPool;
  SlotMemory(SlotMemoryPool* pool, std::byte* data) : pool_(pool), data_(data) {}
  SlotMemoryPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
};

// Recycles chunk buffers, last in first out, so that a stream of writes keeps touching pages that are warm already.
// Must outlive its buffers. Thread-safe.
class SlotMemoryPool {
 public:
  // At most `keep` free buffers stay mapped.
  explicit SlotMemoryPool(std::size_t keep) : keep_(keep) {}
  SlotMemoryPool(const SlotMemoryPool&) = delete;
  SlotMemoryPool& operator=(const SlotMemoryPool&) = delete;
  ~SlotMemoryPool();

  // A recycled buffer if there is one: as a rule all of it takes memory already. Aborts if the machine has no address
  // space left.
  [[nodiscard]] SlotMemory take();
  // A buffer that takes no memory yet.
  [[nodiscard]] SlotMemory take_untouched();
  // Forgets what is in the free buffers, and until open() what is given back, too: a read or a store that is just under
  // way may still hold a buffer.
  void close();
  void open();

 private:
  friend class SlotMemory;
  void give_back(std::byte* data) noexcept;

  const std::size_t keep_;
  Mutex mutex_;  // a leaf
  bool closed_ GUARDED_BY(mutex_) = false;
  std::vector<std::byte*> free_ GUARDED_BY(mutex_);  // capacity keep_: giving back never allocates
};

}  // namespace vaultfs
