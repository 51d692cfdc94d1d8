#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace vaultfs {

// Threads that seal chunks and read ahead. Tasks of one kind start in the order they came; reading ahead (bounded by
// its callers) goes before sealing. Thread-safe.
class WorkerPool {
 public:
  using Task = std::function<void()>;
  enum class Kind { sealing, reading };

  // 0: one per core.
  explicit WorkerPool(unsigned threads);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool() { stop(); }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size(); }

  // Dropped after stop().
  void submit(Kind kind, Task task);
  // Ends after the running tasks; what has not started is dropped. Idempotent.
  void stop();

 private:
  void run();

  std::mutex mutex_;  // guards the queues and stopping_; a leaf
  std::condition_variable wake_;
  std::deque<Task> sealing_;
  std::deque<Task> reading_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vaultfs
