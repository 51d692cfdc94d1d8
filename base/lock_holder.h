#pragma once

#include <atomic>
#include <thread>

namespace vaultfs {

// Which thread holds a lock, for assert_held. Nothing in a release build.
class LockHolder {
 public:
#ifdef NDEBUG
  void taken() noexcept {}
  void given_up() noexcept {}
  void assert_mine() const noexcept {}
#else
  void taken() noexcept { thread_.store(std::this_thread::get_id(), std::memory_order_relaxed); }
  void given_up() noexcept { thread_.store(std::thread::id(), std::memory_order_relaxed); }
  // Aborts unless the calling thread holds it.
  void assert_mine() const noexcept;

 private:
  std::atomic<std::thread::id> thread_{};
#endif
};

}  // namespace vaultfs
