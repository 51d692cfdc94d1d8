#include "fs/worker_pool.h"

#include <algorithm>

namespace vaultfs {

WorkerPool::WorkerPool(unsigned threads) {
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  threads_.reserve(threads);
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

void WorkerPool::submit(Kind kind, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    (kind == Kind::sealing ? sealing_ : reading_).push_back(std::move(task));
  }
  wake_.notify_one();
}

void WorkerPool::stop() {
  std::deque<Task> dropped_sealing;
  std::deque<Task> dropped_reading;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped_sealing.swap(sealing_);
    dropped_reading.swap(reading_);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkerPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !sealing_.empty() || !reading_.empty(); });
    if (stopping_) return;
    std::deque<Task>& queue = reading_.empty() ? sealing_ : reading_;
    Task task = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds goes before the lock comes
    lock.lock();
  }
}

}  // namespace vaultfs
