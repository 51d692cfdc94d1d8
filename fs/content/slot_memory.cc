#include "fs/content/slot_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "base/thread/mutex.h"

namespace vaultfs {

SlotMemory::~SlotMemory() {
  if (data_ != nullptr) pool_->give_back(data_);
}

SlotMemoryPool::~SlotMemoryPool() { close(); }

SlotMemory SlotMemoryPool::take() {
  {
    const MutexLock lock(mutex_);
    if (free_.capacity() < keep_) free_.reserve(keep_);  // giving back never allocates
    if (!free_.empty()) {
      std::byte* data = free_.back();
      free_.pop_back();
      return {this, data};
    }
  }
  return take_untouched();
}

SlotMemory SlotMemoryPool::take_untouched() {
  void* mapped =
      ::mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  return {this, static_cast<std::byte*>(mapped)};
}

void SlotMemoryPool::give_back(std::byte* data) noexcept {
  {
    const MutexLock lock(mutex_);
    if (!closed_ && free_.size() < std::min(keep_, free_.capacity())) {
      free_.push_back(data);
      return;
    }
  }
  ::munmap(data, kChunkBytes);
}

void SlotMemoryPool::open() {
  const MutexLock lock(mutex_);
  closed_ = false;
}

void SlotMemoryPool::close() {
  std::vector<std::byte*> mapped;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    mapped.swap(free_);
  }
  // The kernel hands out unmapped pages only after clearing them.
  for (std::byte* data : mapped) ::munmap(data, kChunkBytes);
}

}  // namespace vaultfs
