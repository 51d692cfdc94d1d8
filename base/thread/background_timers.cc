#include "base/thread/background_timers.h"

#include <new>
#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

PeriodicTask::PeriodicTask(std::chrono::milliseconds period, std::function<void()> task)
    : period_(period), task_(std::move(task)), thread_("timer", [this] { run(); }) {}

PeriodicTask::~PeriodicTask() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void PeriodicTask::run() {
  for (;;) {
    {
      const MutexLock lock(mutex_);
      const auto due = steady_now() + period_;
      while (!stopping_) {
        if (!wake_.wait_until(mutex_, due)) break;
      }
      if (stopping_) return;
    }
    try {
      task_();
    } catch (const std::bad_alloc&) {
      // What it looks after is looked at again after the next period.
    }
  }
}

}  // namespace vaultfs
