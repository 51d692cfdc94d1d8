#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

// Threads that store chunks and read ahead. Tasks of one kind start in the order they came; reading ahead (bounded by
// its callers) goes before storing. Thread-safe.
class WorkerPool {
 public:
  using Task = std::function<void()>;
  enum class Kind { storing, reading };

  // 0: one per core. Fewer where the machine gives no more.
  explicit WorkerPool(unsigned threads);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool() { stop(); }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size(); }

  // False after stop(): it will not run. One that stop() finds waiting is dropped: `dropped` (may be empty) is called
  // in its place, from stop(), so that nobody waits for it for ever.
  bool submit(Kind kind, Task task, Task dropped = {});
  // Ends after the running tasks; what has not started is dropped. Idempotent.
  void stop();

 private:
  struct Entry {
    Task task;
    Task dropped;
  };
  void run();

  Mutex mutex_;  // a leaf
  CondVar wake_;
  std::deque<Entry> storing_ GUARDED_BY(mutex_);
  std::deque<Entry> reading_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<Thread> threads_;
};

}  // namespace vaultfs
