#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace vaultfs {

// A thread for calls that may never return. Jobs run one after another; who waits for one waits no longer than it wants
// to. A running job that was given up makes the worker *stuck*: every run() fails at once until that job has returned.
// The thread lives as long as the process, and blocks all signals. Thread-safe.
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
  };
  // Shared with the thread, which may outlive the worker.
  struct Shared {
    // Guards all below. A leaf: no job runs while it is held.
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::shared_ptr<Job>> queue;
    bool stuck = false;
  };
  static void serve(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace vaultfs
