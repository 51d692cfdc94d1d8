#include "fs/parallel_work.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace vaultfs {

unsigned chunk_worker_count() { return std::clamp(std::thread::hardware_concurrency(), 1U, 64U); }

Status run_in_parallel(unsigned threads, const ChunkWork& work) {
  std::atomic<bool> stop{false};
  std::mutex mutex;  // guards first_error; a leaf
  std::optional<Error> first_error;
  const auto run = [&] {
    Status status = work(stop);
    if (status.ok()) return;
    stop.store(true, std::memory_order_relaxed);
    const std::lock_guard lock(mutex);
    if (!first_error) first_error = std::move(status).error();
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  if (first_error) return *std::move(first_error);
  return ok_status();
}

}  // namespace vaultfs
