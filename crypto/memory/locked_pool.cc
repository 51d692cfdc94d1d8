#include "crypto/memory/locked_pool.h"

#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/thread/mutex.h"

namespace vaultfs {

// At the start of every mapping.
struct LockedPool::Mapping {
  Mapping* previous;
  Mapping* next;
  std::size_t bytes;   // of the whole mapping
  std::size_t unused;  // keeps the first block aligned to 16
};

// In front of every block. A free block keeps the link in its payload, which is otherwise zero.
struct LockedPool::Block {
  std::uint32_t state;
  std::uint32_t size_class;
  std::size_t size;  // as asked for

  [[nodiscard]] std::byte* payload() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  [[nodiscard]] static Block* of(void* payload) noexcept { return static_cast<Block*>(payload) - 1; }
};

namespace {

constexpr std::uint32_t kInUse = 0x6b6c6f63;
constexpr std::uint32_t kFree = 0x65657266;
constexpr std::uint32_t kLargeClass = 0xffffffff;
constexpr std::size_t kHeaderBytes = 16;

// Bytes of a block with its header: 32, 48, 64, 96 … 65536, 98304.
constexpr std::size_t class_bytes(std::size_t size_class) noexcept {
  const std::size_t base = std::size_t{32} << (size_class / 2);
  return size_class % 2 == 0 ? base : base + base / 2;
}

// The smallest class that holds `bytes` with the header.
constexpr std::size_t class_for(std::size_t bytes) noexcept {
  std::size_t size_class = 0;
  while (class_bytes(size_class) < bytes) ++size_class;
  return size_class;
}

std::size_t round_to_pages(std::size_t bytes) noexcept {
  static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

LockedPool& LockedPool::instance() {
  static LockedPool* const pool = new LockedPool;
  return *pool;
}

LockedPool::~LockedPool() {
  while (mappings_ != nullptr) unmap(mappings_);
}

LockedPool::Mapping* LockedPool::map(std::size_t bytes) noexcept {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (::mlock(memory, bytes) != 0 || ::madvise(memory, bytes, MADV_DONTDUMP) != 0 ||
      ::madvise(memory, bytes, MADV_DONTFORK) != 0) {
    const int saved_errno = errno;
    ::munmap(memory, bytes);
    errno = saved_errno;
    return nullptr;
  }
  auto* const mapping = new (memory) Mapping{nullptr, mappings_, bytes, 0};
  if (mappings_ != nullptr) mappings_->previous = mapping;
  mappings_ = mapping;
  locked_bytes_ += bytes;
  return mapping;
}

void LockedPool::unmap(Mapping* mapping) noexcept {
  if (mapping->previous != nullptr) mapping->previous->next = mapping->next;
  if (mapping->next != nullptr) mapping->next->previous = mapping->previous;
  if (mappings_ == mapping) mappings_ = mapping->next;
  const std::size_t bytes = mapping->bytes;
  locked_bytes_ -= bytes;
  sodium_memzero(mapping, bytes);
  ::munmap(mapping, bytes);
}

void LockedPool::push_free(std::byte* at, std::size_t size_class) noexcept {
  auto* const block = new (at) Block{kFree, static_cast<std::uint32_t>(size_class), 0};
  std::memcpy(block->payload(), &free_[size_class], sizeof(Block*));
  free_[size_class] = block;
}

bool LockedPool::add_arena() noexcept {
  Mapping* const arena = map(kArenaBytes);
  if (arena == nullptr) return false;
  // The rest of the arena before is cut into blocks, so that no locked byte is lost.
  while (bump_bytes_ >= class_bytes(0)) {
    std::size_t size_class = class_for(bump_bytes_);
    if (class_bytes(size_class) > bump_bytes_) --size_class;
    push_free(bump_, size_class);
    bump_ += class_bytes(size_class);
    bump_bytes_ -= class_bytes(size_class);
  }
  bump_ = reinterpret_cast<std::byte*>(arena) + sizeof(Mapping);
  bump_bytes_ = kArenaBytes - sizeof(Mapping);
  return true;
}

void* LockedPool::allocate_large(std::size_t size) noexcept {
  constexpr std::size_t kOverhead = sizeof(Mapping) + sizeof(Block);
  if (size > SIZE_MAX / 2) return nullptr;
  const std::size_t bytes = round_to_pages(size + kOverhead);
  Mapping* const mapping = map(bytes);
  if (mapping == nullptr) return nullptr;
  auto* const block = new (mapping + 1) Block{kInUse, kLargeClass, size};
  return block->payload();
}

void* LockedPool::allocate(std::size_t size) noexcept {
  static_assert(sizeof(Block) == kHeaderBytes && sizeof(Mapping) % 16 == 0);
  static_assert(class_for(kLargestPooledBytes + kHeaderBytes) < kClasses);
  if (size == 0) return nullptr;
  const MutexLock lock(mutex_);
  if (size > kLargestPooledBytes) return allocate_large(size);
  const std::size_t size_class = class_for(size + kHeaderBytes);
  Block* block = free_[size_class];
  if (block != nullptr) {
    if (block->state != kFree) std::abort();
    std::memcpy(&free_[size_class], block->payload(), sizeof(Block*));
    std::memset(block->payload(), 0, sizeof(Block*));
  } else {
    if (bump_bytes_ < class_bytes(size_class) && !add_arena()) return nullptr;
    block = reinterpret_cast<Block*>(bump_);
    bump_ += class_bytes(size_class);
    bump_bytes_ -= class_bytes(size_class);
  }
  new (block) Block{kInUse, static_cast<std::uint32_t>(size_class), size};
  return block->payload();
}

void LockedPool::release(void* payload) noexcept {
  if (payload == nullptr) return;
  Block* const block = Block::of(payload);
  // The header is this thread's own until the block is on the free list, so the wipe needs no lock.
  if (block->state != kInUse) std::abort();
  if (block->size_class == kLargeClass) {
    const MutexLock lock(mutex_);
    unmap(reinterpret_cast<Mapping*>(block) - 1);
    return;
  }
  const std::size_t size_class = block->size_class;
  if (size_class >= kClasses) std::abort();
  sodium_memzero(payload, block->size);
  const MutexLock lock(mutex_);
  push_free(reinterpret_cast<std::byte*>(block), size_class);
}

void* LockedPool::reallocate(void* payload, std::size_t size) noexcept {
  if (payload == nullptr) return allocate(size);
  if (size == 0) {
    release(payload);
    return nullptr;
  }
  Block* const block = Block::of(payload);
  if (block->state != kInUse) std::abort();
  const std::size_t old_size = block->size;
  if (size <= old_size && size + size / 2 >= old_size) {
    // A little smaller: stays where it is, the part given up is wiped.
    sodium_memzero(static_cast<std::byte*>(payload) + size, old_size - size);
    block->size = size;
    return payload;
  }
  void* const moved = allocate(size);
  if (moved == nullptr) return nullptr;
  std::memcpy(moved, payload, std::min(size, old_size));
  release(payload);
  return moved;
}

std::size_t LockedPool::locked_bytes() const noexcept {
  const MutexLock lock(mutex_);
  return locked_bytes_;
}

PooledSecret::PooledSecret(std::size_t size) noexcept
    : data_(static_cast<std::byte*>(LockedPool::instance().allocate(size))), size_(data_ == nullptr ? 0 : size) {}

}  // namespace vaultfs
