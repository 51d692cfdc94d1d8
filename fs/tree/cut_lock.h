#pragma once

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

// The lock between changes (shared) and cuts (exclusive): a waiting cut goes first, so that a stream of writers can't
// starve a snapshot. Not recursive.
class CutLock : public SharedMutex {
 public:
  CutLock() : SharedMutex(Prefer::writers) {}
};

// Holds one of several CutLocks shared, which one is decided at run time. It guards no field, so the analysis, which
// can't follow that, has nothing to know of it.
class ChangeHold {
 public:
  // Takes the lock.
  explicit ChangeHold(CutLock& lock) NO_THREAD_SAFETY_ANALYSIS : lock_(&lock) { lock.lock_shared(); }
  ChangeHold(ChangeHold&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
  ChangeHold& operator=(ChangeHold&&) = delete;
  ChangeHold(const ChangeHold&) = delete;
  ChangeHold& operator=(const ChangeHold&) = delete;
  ~ChangeHold() NO_THREAD_SAFETY_ANALYSIS {
    if (lock_ != nullptr) lock_->unlock_shared();
  }

 private:
  CutLock* lock_;
};

}  // namespace vaultfs
