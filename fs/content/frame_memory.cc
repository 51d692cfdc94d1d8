#include "fs/content/frame_memory.h"

#include <string.h>  // NOLINT(modernize-deprecated-headers): explicit_bzero is glibc's

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line

std::byte* allocate(std::size_t bytes) { return static_cast<std::byte*>(::operator new(bytes, kAlignment)); }

void wipe_and_free(std::byte* data, std::size_t bytes) noexcept {
  ::explicit_bzero(data, bytes);
  ::operator delete(data, kAlignment);
}

}  // namespace

FrameMemory::~FrameMemory() {
  if (pool_ != nullptr) pool_->give_back(bytes_);
}

FrameMemory FrameMemoryPool::take(std::size_t bytes) {
  const std::size_t size = std::bit_ceil(std::max(bytes, std::size_t{1} << kSmallestLog2));
  const auto index = static_cast<std::size_t>(std::countr_zero(size)) - kSmallestLog2;
  if (index >= kSizes) std::abort();
  {
    const MutexLock lock(mutex_);
    std::vector<std::byte*>& free = free_[index];
    if (free.capacity() == 0) free.reserve(kKeepBytes / size);  // giving back never allocates
    if (!free.empty()) {
      std::byte* const data = free.back();
      free.pop_back();
      return {this, {data, size}};
    }
  }
  return {this, {allocate(size), size}};
}

void FrameMemoryPool::give_back(MutableByteView bytes) noexcept {
  {
    const MutexLock lock(mutex_);
    std::vector<std::byte*>& free = free_[static_cast<std::size_t>(std::countr_zero(bytes.size())) - kSmallestLog2];
    if (!closed_ && free.size() < kKeepBytes / bytes.size()) {
      free.push_back(bytes.data());
      return;
    }
  }
  wipe_and_free(bytes.data(), bytes.size());
}

void FrameMemoryPool::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  for (std::size_t index = 0; index < kSizes; ++index) {
    for (std::byte* data : free_[index]) wipe_and_free(data, std::size_t{1} << (kSmallestLog2 + index));
    free_[index].clear();
  }
}

void FrameMemoryPool::open() {
  const MutexLock lock(mutex_);
  closed_ = false;
}

}  // namespace vaultfs
