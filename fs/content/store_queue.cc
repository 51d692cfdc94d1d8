#include "fs/content/store_queue.h"

#include <utility>

namespace vaultfs {

Error StoreQueue::never_stored() { return {ErrorCode::IoError, "the vault was closed before this was stored"}; }

void StoreQueue::stop() {
  if (workers_ != nullptr) workers_->stop();
}

void StoreQueue::finish(const JobPointer& job, std::optional<Error> error) {
  {
    const MutexLock lock(mutex_);
    job->error = std::move(error);
    job->done = true;
  }
  done_.notify_all();
}

void StoreQueue::wait_for(const JobPointer& job) {
  if (job->done.load()) return;
  MutexLock lock(mutex_);
  while (!job->done.load()) done_.wait(mutex_);
}

}  // namespace vaultfs
