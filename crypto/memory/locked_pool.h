#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// An allocator whose memory is page-locked (the lock is checked), left out of core dumps and of what a child of fork()
// gets (MADV_DONTFORK: there it is not mapped, so a child may only exec or end), and wiped when it is freed. OpenSSL's
// contexts and key schedules live in it (see harden_process), and the short keys that ciphers keep.
//
// Blocks come from arenas of 1 MiB, cut into size classes (2^n and 1.5 * 2^n); a freed block goes back to its class.
// Arenas are never unmapped, so the locked memory is bounded by the peak of each class. What is larger than 64 KiB gets
// a mapping of its own. Thread-safe. A heap of its own instead of SecretBuffers, because those cost a page each and
// RLIMIT_MEMLOCK is 8 MiB for ordinary users.
class LockedPool {
 public:
  static constexpr std::size_t kArenaBytes = std::size_t{1024} * 1024;
  static constexpr std::size_t kLargestPooledBytes = std::size_t{64} * 1024;

  // The process's pool. Never destroyed: OpenSSL frees its last blocks in an exit handler.
  [[nodiscard]] static LockedPool& instance();

  LockedPool() = default;
  LockedPool(const LockedPool&) = delete;
  LockedPool& operator=(const LockedPool&) = delete;
  // Unmaps everything; REQUIRES: no block is in use any more.
  ~LockedPool();

  // Zeroed memory aligned to 16 bytes, or nullptr if `size` is 0, or if memory can't be mapped or locked.
  [[nodiscard]] void* allocate(std::size_t size) noexcept;
  // As realloc: the contents move, the old block is wiped. On failure nullptr, and the old block stays.
  [[nodiscard]] void* reallocate(void* payload, std::size_t size) noexcept;
  // Wipes and frees; nullptr is nothing. Aborts on a double free or a foreign pointer.
  void release(void* payload) noexcept;

  // Bytes that are mapped and locked now.
  [[nodiscard]] std::size_t locked_bytes() const noexcept;

 private:
  struct Mapping;
  struct Block;
  static constexpr std::size_t kClasses = 24;

  [[nodiscard]] Mapping* map(std::size_t bytes) noexcept REQUIRES(mutex_);
  void unmap(Mapping* mapping) noexcept REQUIRES(mutex_);
  [[nodiscard]] bool add_arena() noexcept REQUIRES(mutex_);
  [[nodiscard]] void* allocate_large(std::size_t size) noexcept REQUIRES(mutex_);
  void push_free(std::byte* at, std::size_t size_class) noexcept REQUIRES(mutex_);

  // A leaf in the lock order: nothing is called while it is held but mmap, mlock and munmap.
  mutable Mutex mutex_;
  std::array<Block*, kClasses> free_ GUARDED_BY(mutex_){};  // per size class
  std::byte* bump_ GUARDED_BY(mutex_) = nullptr;            // the uncut rest of the newest arena
  std::size_t bump_bytes_ GUARDED_BY(mutex_) = 0;
  Mapping* mappings_ GUARDED_BY(mutex_) = nullptr;  // all arenas and large blocks
  std::size_t locked_bytes_ GUARDED_BY(mutex_) = 0;
};

// A short secret in the locked pool, for objects of which there are many. Wiped when it goes. Not copyable, not
// movable.
class PooledSecret {
 public:
  // `size` zero bytes; check ok(): locking may fail.
  explicit PooledSecret(std::size_t size) noexcept;
  PooledSecret(const PooledSecret&) = delete;
  PooledSecret& operator=(const PooledSecret&) = delete;
  ~PooledSecret() { LockedPool::instance().release(data_); }

  [[nodiscard]] bool ok() const noexcept { return data_ != nullptr; }
  [[nodiscard]] ByteView view() const noexcept { return {data_, size_}; }
  [[nodiscard]] MutableByteView mutable_view() noexcept { return {data_, size_}; }

 private:
  std::byte* data_;
  std::size_t size_;
};

}  // namespace vaultfs
