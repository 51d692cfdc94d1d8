#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "base/thread/stepping.h"

namespace vaultfs {

// The thread of all product code: std::thread with a name, seen by the Stepper of a test from its first to its last
// step. As std::thread it must be joined or detached before it goes, and its construction throws std::system_error
// where the machine gives no thread. The function must not throw.
class Thread {
 public:
  Thread() noexcept = default;
  // `name` lives as long as the program.
  template <class Work>
  Thread(const char* name, Work&& work) {
    Stepper* const s = stepper();
    if (s == nullptr) [[likely]] {
      thread_ = std::thread(std::forward<Work>(work));
      return;
    }
    start_stepped(*s, name, std::function<void()>(std::forward<Work>(work)));
  }
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&&) noexcept = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  [[nodiscard]] bool joinable() const noexcept { return thread_.joinable(); }
  void join();
  void detach() { thread_.detach(); }
  [[nodiscard]] std::thread::native_handle_type native_handle() { return thread_.native_handle(); }
  // How many threads the machine runs at a time; at least 1.
  [[nodiscard]] static unsigned hardware_concurrency() noexcept;

 private:
  void start_stepped(Stepper& stepper, const char* name, std::function<void()> work);

  std::thread thread_;
  std::uint64_t number_ = 0;  // the Stepper's
};

// As std::this_thread::sleep_for.
void sleep_for(std::chrono::nanoseconds length);

}  // namespace vaultfs
