#pragma once

#include <chrono>
#include <functional>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

// Calls a function from a thread of its own, `period` after the call before it has returned. The destructor waits for a
// running call. What is due is decided by the function, by the Env's clock; the period only says how often it looks.
class PeriodicTask {
 public:
  PeriodicTask(std::chrono::milliseconds period, std::function<void()> task);
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;
  ~PeriodicTask();

 private:
  void run();

  const std::chrono::milliseconds period_;
  const std::function<void()> task_;
  Mutex mutex_;  // not held while the task runs
  CondVar wake_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace vaultfs
