#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "base/thread/mutex.h"

namespace vaultfs {

// A thread for calls that may never return. Jobs run one after another; who waits for one waits no longer than it wants
// to. A job that was given up and has been running for as long as was meant for it makes the worker *stuck*: every
// run() fails at once until that job has returned. How long it had waited for its turn before does not count against
// it. The thread lives as long as the process, and blocks all signals. Thread-safe.
class Pkcs11Worker {
 public:
  enum class Outcome : std::uint8_t {
    done,
    timed_out,  // the job did not start in time (then it never will), or is still running
    stuck,      // an earlier job is still running long after it was given up; this one never started
  };

  Pkcs11Worker();
  Pkcs11Worker(const Pkcs11Worker&) = delete;
  Pkcs11Worker& operator=(const Pkcs11Worker&) = delete;

  // Runs `job` and waits for it. A job that was given up goes on after run() has returned: it must own all it touches.
  [[nodiscard]] Outcome run(std::function<void()> job, std::chrono::nanoseconds timeout);
  // Runs `job` some time after those before it, also if the worker is stuck now.
  void post(std::function<void()> job);

 private:
  enum class Phase : std::uint8_t { queued, running, done, dropped };
  struct Job {
    std::function<void()> work;
    Phase phase = Phase::queued;
    std::chrono::nanoseconds timeout{};
    std::chrono::steady_clock::time_point began;  // unless queued
    bool given_up = false;
    // When it stops being slow and begins to hang. REQUIRES: running, given up.
    [[nodiscard]] std::chrono::steady_clock::time_point hangs_from() const { return began + timeout; }
  };
  // Shared with the thread, which may outlive the worker.
  struct Shared {
    // A leaf: no job runs while it is held. Guards the jobs too.
    Mutex mutex;
    CondVar changed;
    std::deque<std::shared_ptr<Job>> queue GUARDED_BY(mutex);
    std::shared_ptr<Job> running GUARDED_BY(mutex);
    [[nodiscard]] bool stuck() const REQUIRES(mutex) {
      return running && running->given_up && steady_now() >= running->hangs_from();
    }
  };
  static void serve(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace vaultfs
