#include "base/thread/parallel_work.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <vector>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

unsigned chunk_worker_count() { return std::clamp(Thread::hardware_concurrency(), 1U, 64U); }

Status run_in_parallel(unsigned threads, const ChunkWork& work) {
  std::atomic<bool> stop{false};
  Mutex mutex;  // guards first_error; a leaf
  std::optional<Error> first_error;
  const auto run = [&] {
    Status status = or_no_memory([&] { return work(stop); });
    if (status.ok()) return;
    stop.store(true, std::memory_order_relaxed);
    const MutexLock lock(mutex);
    if (!first_error) first_error = std::move(status).error();
  };
  std::vector<Thread> others;
  others.reserve(threads);
  try {
    for (unsigned i = 1; i < threads; ++i) others.emplace_back("chunk worker", run);
  } catch (const std::system_error&) {
    // The machine gives no more threads: those that there are do it.
  }
  run();
  for (Thread& thread : others) thread.join();
  if (first_error) return *std::move(first_error);
  return ok_status();
}

}  // namespace vaultfs
