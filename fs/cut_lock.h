#pragma once

#include <pthread.h>

#include <cstdlib>

namespace vaultfs {

// The lock between changes (shared) and cuts (exclusive): a waiting cut goes first, so that a stream of writers can't
// starve a snapshot. Not recursive. Usable with std::shared_lock and std::unique_lock.
class CutLock {
 public:
  CutLock() {
    pthread_rwlockattr_t attributes{};
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    if (pthread_rwlock_init(&lock_, &attributes) != 0) std::abort();
    pthread_rwlockattr_destroy(&attributes);
  }
  CutLock(const CutLock&) = delete;
  CutLock& operator=(const CutLock&) = delete;
  ~CutLock() { pthread_rwlock_destroy(&lock_); }

  void lock() { check(pthread_rwlock_wrlock(&lock_)); }
  void unlock() { check(pthread_rwlock_unlock(&lock_)); }
  void lock_shared() { check(pthread_rwlock_rdlock(&lock_)); }
  void unlock_shared() { check(pthread_rwlock_unlock(&lock_)); }

 private:
  static void check(int outcome) {
    if (outcome != 0) std::abort();
  }
  pthread_rwlock_t lock_{};
};

}  // namespace vaultfs
