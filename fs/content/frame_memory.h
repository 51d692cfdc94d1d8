#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/thread/mutex.h"

namespace vaultfs {

class FrameMemoryPool;

// One buffer of a power of two of bytes. Its content is whatever the last user left. Goes back to its pool by itself;
// movable.
class FrameMemory {
 public:
  FrameMemory() = default;
  FrameMemory(FrameMemory&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
  FrameMemory(const FrameMemory&) = delete;
  FrameMemory& operator=(const FrameMemory&) = delete;
  FrameMemory& operator=(FrameMemory&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~FrameMemory();

  [[nodiscard]] MutableByteView view() const noexcept { return bytes_; }

 private:
  friend class FrameMemoryPool;
  FrameMemory(FrameMemoryPool* pool, MutableByteView bytes) : pool_(pool), bytes_(bytes) {}
  FrameMemoryPool* pool_ = nullptr;
  MutableByteView bytes_;
};

// Recycles the buffers of opened frames: a cache that is full lets go of one for each that it takes in, and neither
// clearing fresh memory nor wiping old memory has to be paid for each. Must outlive its buffers. Thread-safe.
class FrameMemoryPool {
 public:
  FrameMemoryPool() = default;
  FrameMemoryPool(const FrameMemoryPool&) = delete;
  FrameMemoryPool& operator=(const FrameMemoryPool&) = delete;
  ~FrameMemoryPool() { close(); }

  // A buffer of at least that many bytes, at most 1 MiB.
  [[nodiscard]] FrameMemory take(std::size_t bytes);
  // Forgets what is in the free buffers, and until open() what is given back, too: a read that is just under way may
  // still hold a buffer.
  void close();
  void open();

 private:
  friend class FrameMemory;
  static constexpr unsigned kSmallestLog2 = 12;
  static constexpr unsigned kSizes = 9;
  // Free buffers of one size take at most this much; what is beyond goes back to the system.
  static constexpr std::size_t kKeepBytes = std::size_t{2} * 1024 * 1024;
  void give_back(MutableByteView bytes) noexcept;

  Mutex mutex_;  // a leaf
  bool closed_ GUARDED_BY(mutex_) = false;
  std::array<std::vector<std::byte*>, kSizes> free_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
