#include "crypto/keyvault/pkcs11/worker.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

Pkcs11Worker::Pkcs11Worker() {
  // Signals are for the threads that know them; a new thread inherits the mask of the one that starts it.
  sigset_t all{};
  sigset_t before{};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Thread("pkcs11", [shared = shared_] { serve(shared); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pkcs11Worker::serve(const std::shared_ptr<Shared>& shared) {
  MutexLock lock(shared->mutex);
  for (;;) {
    while (shared->queue.empty()) shared->changed.wait(shared->mutex);
    const std::shared_ptr<Job> job = std::move(shared->queue.front());
    shared->queue.pop_front();
    if (job->phase == Phase::dropped) continue;
    job->phase = Phase::running;
    job->began = steady_now();
    shared->running = job;
    lock.unlock();
    job->work();
    job->work = nullptr;  // what it holds goes on this thread, and before anybody is told that it is done
    lock.lock();
    job->phase = Phase::done;
    shared->running = nullptr;
    shared->changed.notify_all();
  }
}

Pkcs11Worker::Outcome Pkcs11Worker::run(std::function<void()> job, std::chrono::nanoseconds timeout) {
  const auto deadline = steady_now() + timeout;
  const auto mine = std::make_shared<Job>();
  mine->work = std::move(job);
  mine->timeout = timeout;
  MutexLock lock(shared_->mutex);
  if (shared_->stuck()) return Outcome::stuck;
  shared_->queue.push_back(mine);
  shared_->changed.notify_all();
  while (mine->phase != Phase::done) {
    const bool queued = mine->phase == Phase::queued;
    const bool late = steady_now() >= deadline;
    if (queued && (late || shared_->stuck())) {
      mine->phase = Phase::dropped;
      return shared_->stuck() ? Outcome::stuck : Outcome::timed_out;
    }
    if (late) {
      mine->given_up = true;
      shared_->changed.notify_all();  // who waits behind it now knows when to stop
      return Outcome::timed_out;
    }
    const bool behind = queued && shared_->running && shared_->running->given_up;
    shared_->changed.wait_until(shared_->mutex, behind ? std::min(deadline, shared_->running->hangs_from()) : deadline);
  }
  return Outcome::done;
}

void Pkcs11Worker::post(std::function<void()> job) {
  const auto posted = std::make_shared<Job>();
  posted->work = std::move(job);
  const MutexLock lock(shared_->mutex);
  shared_->queue.push_back(posted);
  shared_->changed.notify_all();
}

}  // namespace vaultfs
