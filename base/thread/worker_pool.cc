#include "base/thread/worker_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

WorkerPool::WorkerPool(unsigned threads) {
  if (threads == 0) threads = std::max(1U, Thread::hardware_concurrency());
  threads_.reserve(threads);
  for (unsigned i = 0; i < threads; ++i) {
    try {
      threads_.emplace_back("worker", [this] { run(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;
      return;  // those that there are do it
    }
  }
}

bool WorkerPool::submit(Kind kind, Task task, Task dropped) {
  {
    const MutexLock lock(mutex_);
    if (stopping_) return false;
    (kind == Kind::storing ? storing_ : reading_).push_back({std::move(task), std::move(dropped)});
  }
  wake_.notify_one();
  return true;
}

void WorkerPool::stop() {
  std::deque<Entry> never_started;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    never_started.swap(storing_);
    for (Entry& entry : reading_) never_started.push_back(std::move(entry));
    reading_.clear();
  }
  wake_.notify_all();
  for (Thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  for (const Entry& entry : never_started) {
    if (entry.dropped) entry.dropped();
  }
}

void WorkerPool::run() {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && storing_.empty() && reading_.empty()) wake_.wait(mutex_);
    if (stopping_) return;
    std::deque<Entry>& queue = reading_.empty() ? storing_ : reading_;
    Task task = std::move(queue.front().task);
    queue.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds goes before the lock comes
    lock.lock();
  }
}

}  // namespace vaultfs
