#pragma once

#include <pthread.h>

#include <atomic>

namespace vaultfs {

// Which thread holds a lock, for assert_held. Nothing in a release build.
class LockHolder {
 public:
#ifdef NDEBUG
  void taken() noexcept {}
  void given_up() noexcept {}
  void assert_mine() const noexcept {}
#else
  void taken() noexcept { thread_.store(::pthread_self(), std::memory_order_relaxed); }
  void given_up() noexcept { thread_.store(0, std::memory_order_relaxed); }
  // Aborts unless the calling thread holds it.
  void assert_mine() const noexcept;

 private:
  std::atomic< ::pthread_t> thread_{0};
#endif
};

}  // namespace vaultfs
