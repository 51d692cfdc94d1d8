#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

// Lets somebody who is about to remove things wait until all who may still use them are through, without slowing these
// down: a use is two atomic increments, a wait flips which of two counters new uses go to and waits for the other to
// become zero. Uses may nest. Thread-safe.
class UseGate {
 public:
  class Use {
   public:
    explicit Use(std::atomic<std::uint64_t>& counter) : counter_(&counter) {}
    Use(Use&& other) noexcept : counter_(std::exchange(other.counter_, nullptr)) {}
    Use& operator=(Use&&) = delete;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (counter_ != nullptr && counter_->fetch_sub(1) == 1) atomic_notify_all(*counter_);
    }

   private:
    std::atomic<std::uint64_t>* counter_;
  };

  [[nodiscard]] Use enter() {
    for (;;) {
      const std::uint64_t turn = turn_.load();
      step_point("UseGate::enter");
      Use use(count_in(turn));
      // A wait that began meanwhile may not have seen this use.
      if (turn_.load() == turn) return use;
    }
  }

  // Returns when every use entered before the call has ended. REQUIRES: the caller has no use of its own.
  void wait_for_earlier() {
    const MutexLock one_at_a_time(mutex_);
    step_point("UseGate::wait");
    std::atomic<std::uint64_t>& earlier = active_[turn_.fetch_add(1) % active_.size()];
    for (std::uint64_t seen = earlier.load(); seen != 0; seen = earlier.load()) atomic_wait(earlier, seen);
  }

 private:
  std::atomic<std::uint64_t>& count_in(std::uint64_t turn) {
    std::atomic<std::uint64_t>& counter = active_[turn % active_.size()];
    counter.fetch_add(1);
    return counter;
  }

  Mutex mutex_;  // held by who waits; guards nothing
  std::atomic<std::uint64_t> turn_{0};
  std::array<std::atomic<std::uint64_t>, 2> active_{};
};

}  // namespace vaultfs
