#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/thread/lock_holder.h"
#include "base/thread/stepping.h"
#include "base/thread/thread_annotations.h"

namespace vaultfs {

// The lock of all product code: std::mutex, known to clang's analysis of locks and to the Stepper of a test. Not
// recursive. scripts/check-locks refuses std's types elsewhere.
class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ACQUIRE() {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->lock(this, Hold::exclusive);
    mutex_.lock();
    holder_.taken();
  }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]] {
      if (!s->try_lock(this, Hold::exclusive)) return false;
      mutex_.lock();
    } else if (!mutex_.try_lock()) {
      return false;
    }
    holder_.taken();
    return true;
  }
  void unlock() RELEASE() {
    holder_.given_up();
    mutex_.unlock();
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->unlock(this, Hold::exclusive);
  }

  // For what the analysis can't see, as a lambda that is called under the lock. A debug build aborts if it is not so.
  void assert_held() const ASSERT_CAPABILITY(this) { holder_.assert_mine(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
  [[no_unique_address]] LockHolder holder_;
};

// Who is served first when both readers and writers wait: readers (as std::shared_mutex: readers one after another can
// keep a writer out for ever), or writers (then a reader must not take it twice).
enum class Prefer : std::uint8_t { readers, writers };

// One writer or many readers. Not recursive.
class CAPABILITY("mutex") SharedMutex {
 public:
  explicit SharedMutex(Prefer prefer = Prefer::readers);
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;
  ~SharedMutex() { ::pthread_rwlock_destroy(&lock_); }

  void lock() ACQUIRE() {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->lock(this, Hold::exclusive);
    check(::pthread_rwlock_wrlock(&lock_));
    holder_.taken();
  }
  void lock_shared() ACQUIRE_SHARED() {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->lock(this, Hold::shared);
    check(::pthread_rwlock_rdlock(&lock_));
  }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]] {
      if (!s->try_lock(this, Hold::exclusive)) return false;
    }
    if (::pthread_rwlock_trywrlock(&lock_) != 0) return false;
    holder_.taken();
    return true;
  }
  [[nodiscard]] bool try_lock_shared() TRY_ACQUIRE_SHARED(true) {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]] {
      if (!s->try_lock(this, Hold::shared)) return false;
    }
    return ::pthread_rwlock_tryrdlock(&lock_) == 0;
  }
  void unlock() RELEASE() {
    holder_.given_up();
    check(::pthread_rwlock_unlock(&lock_));
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->unlock(this, Hold::exclusive);
  }
  void unlock_shared() RELEASE_SHARED() {
    check(::pthread_rwlock_unlock(&lock_));
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      s->unlock(this, Hold::shared);
  }

  // As Mutex's. That a reader holds it is believed.
  void assert_held() const ASSERT_CAPABILITY(this) { holder_.assert_mine(); }
  void assert_reader_held() const ASSERT_SHARED_CAPABILITY(this) {}

 private:
  // A lock that can't be taken (too many readers, taken twice) is a fault of the program, as a lock that isn't held.
  static void check(int result) {
    if (result != 0) [[unlikely]]
      fail(result);
  }
  [[noreturn]] static void fail(int result);

  ::pthread_rwlock_t lock_{};
  [[no_unique_address]] LockHolder holder_;
};

// The lock was taken already: who makes the guard hands it over.
struct AdoptLock {};
inline constexpr AdoptLock kAdoptLock{};

// Holds a lock as its only holder until the end of the block. May be given up and taken again before; one thread's.
template <class Lock>
class SCOPED_CAPABILITY ExclusiveLock {
 public:
  explicit ExclusiveLock(Lock& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex.lock(); }
  ExclusiveLock(Lock& mutex, AdoptLock) REQUIRES(mutex) : mutex_(mutex) {}
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;
  ~ExclusiveLock() RELEASE() {
    if (held_) mutex_.unlock();
  }

  void unlock() RELEASE() {
    held_ = false;
    mutex_.unlock();
  }
  void lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Lock& mutex_;
  bool held_ = true;
};

using MutexLock = ExclusiveLock<Mutex>;
using WriterLock = ExclusiveLock<SharedMutex>;

// Holds a SharedMutex as one of its readers until the end of the block.
class SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex.lock_shared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;
  ~ReaderLock() RELEASE_GENERIC() {
    if (held_) mutex_.unlock_shared();
  }

  void unlock() RELEASE_GENERIC() {
    held_ = false;
    mutex_.unlock_shared();
  }
  void lock() ACQUIRE_SHARED() {
    mutex_.lock_shared();
    held_ = true;
  }

 private:
  SharedMutex& mutex_;
  bool held_ = true;
};

// A condition that threads wait for under a Mutex. A wait may return without a notification, so it stands in a loop:
//   while (!ready_) changed_.wait(mutex_);
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void wait(Mutex& mutex) REQUIRES(mutex) { static_cast<void>(wait_at_most(mutex, std::nullopt)); }

  // False: that time is over. The clock stops while the machine is suspended (see Clock::monotonic_nanos).
  template <class Rep, class Period>
  bool wait_for(Mutex& mutex, std::chrono::duration<Rep, Period> at_most) REQUIRES(mutex) {
    return wait_at_most(mutex, std::chrono::ceil<std::chrono::nanoseconds>(at_most));
  }
  // Until a point of steady_now()'s clock.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    return wait_at_most(mutex, deadline - steady_now());
  }

  void notify_one() noexcept {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      return s->notify_one(this);
    condition_.notify_one();
  }
  void notify_all() noexcept {
    if (Stepper* const s = stepper(); s != nullptr) [[unlikely]]
      return s->notify_all(this);
    condition_.notify_all();
  }

 private:
  bool wait_at_most(Mutex& mutex, std::optional<std::chrono::nanoseconds> at_most) REQUIRES(mutex);

  std::condition_variable condition_;
};

}  // namespace vaultfs
