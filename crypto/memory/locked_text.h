#pragma once

#include <cstddef>
#include <new>
#include <string>

#include "crypto/memory/locked_pool.h"

namespace vaultfs {

// Memory of the locked pool (locked, left out of core dumps, wiped when it is freed) for standard containers: throws
// std::bad_alloc if no more memory can be locked.
template <typename T>
struct LockedAllocator {
  using value_type = T;
  LockedAllocator() = default;
  template <typename U>
  LockedAllocator(const LockedAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_alloc();
    void* const block = LockedPool::instance().allocate(count * sizeof(T));
    if (block == nullptr) throw std::bad_alloc();
    return static_cast<T*>(block);
  }
  void deallocate(T* block, std::size_t) noexcept { LockedPool::instance().release(block); }
  bool operator==(const LockedAllocator&) const noexcept { return true; }
};

// Text that carries a secret on its way: requests, answers, headers with a token. A SecretBuffer is for what stays.
// Up to 15 characters stand in the object itself, which is wiped only where the object is in locked memory too.
using LockedText = std::basic_string<char, std::char_traits<char>, LockedAllocator<char>>;

}  // namespace vaultfs
