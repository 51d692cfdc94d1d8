#include "fs/mount/turn_queue.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

// The kernel bounds neither: each process that writes may have a request of a megabyte here.
constexpr std::size_t kMostKeptBytes = std::size_t{64} << 20;
constexpr std::size_t kMostKeptTasks = 4096;

}  // namespace

bool TurnQueue::enter() {
  const MutexLock lock(mutex_);
  if (free_turns_ == 0) return false;
  --free_turns_;
  return true;
}

bool TurnQueue::keep(Task task, std::size_t bytes) {
  const MutexLock lock(mutex_);
  if (free_turns_ == 0 && kept_.size() < kMostKeptTasks && kept_bytes_ + bytes <= kMostKeptBytes) {
    kept_bytes_ += bytes;
    kept_.push_back({std::move(task), bytes});
    return true;
  }
  ++waiting_threads_;
  while (free_turns_ == 0) turn_free_.wait(mutex_);
  --waiting_threads_;
  --free_turns_;
  return false;
}

void TurnQueue::leave() {
  MutexLock lock(mutex_);
  // A thread that waits goes before what was kept: it is one of those that others need.
  while (!kept_.empty() && waiting_threads_ == 0) {
    Kept next = std::move(kept_.front());
    kept_.pop_front();
    kept_bytes_ -= next.bytes;
    lock.unlock();
    next.task();
    next.task = nullptr;
    lock.lock();
  }
  ++free_turns_;
  turn_free_.notify_one();
}

}  // namespace vaultfs
