#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace vaultfs {

// How a lock is held: alone, or shared with other readers.
enum class Hold : std::uint8_t { exclusive, shared };

// Decides, in a test, which thread goes on: every place where threads meet (lock, wait, thread, sleep;
// base/thread/mutex.h, base/thread/thread.h) asks it first. It lets one thread run at a time and takes the next from a
// seed, so that a run can be repeated. Locks and conditions are known by their addresses, which mean nothing once their
// owner is gone: who wants the same run twice numbers them in the order in which it first sees them. A real lock is
// taken after the Stepper has granted it and given up before it hears of it, so it never blocks.
//
// Every call comes from the thread that it is about, and returns when this thread may go on. A thread that the Stepper
// has not been told of by thread_begins is the one that set it. None is set in production.
class Stepper {
 public:
  virtual ~Stepper() = default;

  virtual void lock(const void* mutex, Hold hold) = 0;
  // False: somebody else holds it so that it can't be had.
  [[nodiscard]] virtual bool try_lock(const void* mutex, Hold hold) = 0;
  virtual void unlock(const void* mutex, Hold hold) = 0;

  // Gives up `mutex` (held exclusively; null: there is none), waits for a notification, or for no longer than
  // `at_most`, and takes it again. False: the time was over. May return true without a notification, as every wait on a
  // condition.
  [[nodiscard]] virtual bool wait(const void* condition, const void* mutex,
                                  std::optional<std::chrono::nanoseconds> at_most) = 0;
  virtual void notify_one(const void* condition) = 0;
  virtual void notify_all(const void* condition) = 0;

  // A thread's life. thread_created comes from who starts it, before it exists, and gives the number by which the
  // others know it; thread_begins is its first call and thread_ends its last (instead of both if the machine gives no
  // thread: then from who wanted to start it). join returns once it has ended.
  [[nodiscard]] virtual std::uint64_t thread_created(const char* name) = 0;
  virtual void thread_begins(std::uint64_t thread) = 0;
  virtual void thread_ends(std::uint64_t thread) = 0;
  virtual void join(std::uint64_t thread) = 0;

  // std::chrono::steady_clock's time, by which deadlines are reckoned.
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() = 0;
  virtual void sleep(std::chrono::nanoseconds length) = 0;
  // A place without a lock where another thread may go on: a sync, a step of something lock-free. `what` names it.
  virtual void point(const char* what) = 0;
};

namespace stepping_detail {
inline constinit std::atomic<Stepper*> current{nullptr};
}  // namespace stepping_detail

// The Stepper, or null. A relaxed load: it is set while there is one thread only.
[[nodiscard]] inline Stepper* stepper() noexcept { return stepping_detail::current.load(std::memory_order_relaxed); }

// REQUIRES: no other thread exists (neither before nor after one has been set), and no lock is held.
inline void set_stepper(Stepper* stepper) noexcept {
  stepping_detail::current.store(stepper, std::memory_order_relaxed);
}

// std::chrono::steady_clock::now(), for deadlines: a Stepper has a clock of its own.
[[nodiscard]] inline std::chrono::steady_clock::time_point steady_now() {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
    return s->now();
  return std::chrono::steady_clock::now();
}

inline void step_point(const char* what) {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
    s->point(what);
}

// std::atomic's wait and notify_all, where a Stepper sees them.
template <class T>
void atomic_wait(const std::atomic<T>& value, T seen) {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]] {
    while (value.load() == seen) static_cast<void>(s->wait(&value, nullptr, std::nullopt));
    return;
  }
  value.wait(seen);
}
template <class T>
void atomic_notify_all(std::atomic<T>& value) {
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
    return s->notify_all(&value);
  value.notify_all();
}

// Not seen by a Stepper: the lock under which the compiler has a function's static object made. What makes one must not
// lock, wait or start a thread.

}  // namespace vaultfs
