#include "fs/background_timers.h"

#include <new>
#include <utility>

namespace vaultfs {

PeriodicTask::PeriodicTask(std::chrono::milliseconds period, std::function<void()> task)
    : period_(period), task_(std::move(task)), thread_([this] { run(); }) {}

PeriodicTask::~PeriodicTask() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void PeriodicTask::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, period_, [this] { return stopping_; })) return;
    }
    try {
      task_();
    } catch (const std::bad_alloc&) {
      // What it looks after is looked at again after the next period.
    }
  }
}

}  // namespace vaultfs
