#include "base/thread/mutex.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vaultfs {

#ifndef NDEBUG
void LockHolder::assert_mine() const noexcept {
  if (thread_.load(std::memory_order_relaxed) == ::pthread_self()) return;
  std::fputs("vaultfs: a lock is not held that must be\n", stderr);
  std::abort();
}
#endif

SharedMutex::SharedMutex(Prefer prefer) {
  ::pthread_rwlockattr_t attributes{};
  check(::pthread_rwlockattr_init(&attributes));
  if (prefer == Prefer::writers) {
    check(::pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
  }
  check(::pthread_rwlock_init(&lock_, &attributes));
  ::pthread_rwlockattr_destroy(&attributes);
}

void SharedMutex::fail(int result) {
  std::fprintf(stderr, "vaultfs: a lock can't be taken or given up: %s\n", std::strerror(result));
  std::abort();
}

bool CondVar::wait_at_most(Mutex& mutex, std::optional<std::chrono::nanoseconds> at_most) {
  bool notified = true;
  mutex.holder_.given_up();
  if (Stepper* const s = stepper(); s != nullptr) [[unlikely]] {
    mutex.mutex_.unlock();
    notified = s->wait(this, &mutex, at_most);
    mutex.mutex_.lock();
  } else {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    if (at_most) {
      notified = condition_.wait_for(lock, *at_most) == std::cv_status::no_timeout;
    } else {
      condition_.wait(lock);
    }
    static_cast<void>(lock.release());
  }
  mutex.holder_.taken();
  return notified;
}

}  // namespace vaultfs
