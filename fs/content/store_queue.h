#pragma once

#include <memory>
#include <optional>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "base/thread/worker_pool.h"
#include "fs/content/store_job.h"

namespace vaultfs {

// The slots on their way to chunks: the threads that make the chunks, and who waits for a job's end. Jobs start in the
// order they came; of the jobs of one chunk of a file only the first is here, since each is laid over the one before.
// Thread-safe. Takes nothing but its own lock, which is a leaf, so it may be called under any other.
class StoreQueue {
 public:
  // Starts the threads; 0: one for each core. Once, before all else but stop().
  void start(unsigned threads) { workers_ = std::make_unique<WorkerPool>(threads); }
  // Ends after the jobs that run. Those that have not started are dropped, see submit(). Idempotent.
  void stop();

  // `run` is called on a worker, or, where stop() finds it waiting, `dropped` with the error to finish() it with. After
  // stop() neither is: the job ends here, with that error, and stays in its chain.
  template <class Run, class Dropped>
  void submit(const JobPointer& job, Run run, Dropped dropped) {
    const bool will_run = workers_->submit(
        WorkerPool::Kind::storing, [run, job] { run(job); }, [dropped, job] { dropped(job, never_stored()); });
    if (!will_run) finish(job, never_stored());
  }
  // The job is over, and its result or its error stands: whoever waits goes on.
  void finish(const JobPointer& job, std::optional<Error> error);
  // Returns when the job is over; its result and error may be read then.
  void wait_for(const JobPointer& job);

  // The threads, for reading ahead too.
  [[nodiscard]] WorkerPool& workers() { return *workers_; }

 private:
  // What is not stored any more stays in its slot, and whoever waits for it goes on.
  [[nodiscard]] static Error never_stored();

  Mutex mutex_;  // a leaf; for StoreJob::done and what is written before it
  CondVar done_;
  std::unique_ptr<WorkerPool> workers_;  // set by start()
};

}  // namespace vaultfs
