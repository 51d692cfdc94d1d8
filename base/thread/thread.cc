#include "base/thread/thread.h"

#include <algorithm>

namespace vaultfs {

namespace {

// Tells of a thread's end when the last of its thread-local objects goes: those that come later go before this one.
struct EndReport {
  Stepper* stepper = nullptr;
  std::uint64_t thread = 0;
  EndReport() = default;
  EndReport(const EndReport&) = delete;
  EndReport& operator=(const EndReport&) = delete;
  ~EndReport() {
    if (stepper != nullptr) stepper->thread_ends(thread);
  }
};

}  // namespace

void Thread::start_stepped(Stepper& stepper, const char* name, std::function<void()> work) {
  const std::uint64_t number = stepper.thread_created(name);
  number_ = number;
  try {
    thread_ = std::thread([&stepper, number, work = std::move(work)]() mutable {
      static thread_local EndReport end;
      stepper.thread_begins(number);
      end.stepper = &stepper;
      end.thread = number;
      work();
      work = nullptr;  // what it holds goes while the thread is stepped
    });
  } catch (...) {
    stepper.thread_ends(number);
    throw;
  }
}

void Thread::join() {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
    s->join(number_);
  thread_.join();
}

unsigned Thread::hardware_concurrency() noexcept {
  // The same run on every machine.
  constexpr unsigned kSteppedThreads = 2;
  if (stepper() != nullptr) [[unlikely]]
    return kSteppedThreads;
  return std::max(1U, std::thread::hardware_concurrency());
}

void sleep_for(std::chrono::nanoseconds length) {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
    return s->sleep(length);
  std::this_thread::sleep_for(length);
}

}  // namespace vaultfs
