#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

#include "base/clock.h"
#include "base/result.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// How far a long operation is. Called from worker threads, now and then. Return false to stop it (Interrupted).
struct Progress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
};
using ProgressCallback = std::function<bool(const Progress&)>;

// Counts the bytes of a long operation and tells the caller now and then; what is told never falls. Thread-safe.
class ProgressMeter {
 public:
  // `passes`: how often each byte is counted (written, then read back); told is the share of `total_bytes`.
  ProgressMeter(const ProgressCallback& callback, std::uint64_t total_bytes, const Clock& clock, unsigned passes = 1)
      : callback_(callback), clock_(clock), total_bytes_(total_bytes), passes_(passes) {}

  // Interrupted if the callback has asked to stop.
  [[nodiscard]] Status add(std::uint64_t bytes) {
    const std::uint64_t done = done_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (callback_ == nullptr) return ok_status();
    if (!stopped_.load(std::memory_order_relaxed)) {
      // Who comes last waits: the end is always told.
      if (done / passes_ >= total_bytes_) {
        const MutexLock lock(mutex_);
        report();
      } else if (mutex_.try_lock()) {
        const MutexLock lock(mutex_, kAdoptLock);
        report();
      }
    }
    if (stopped_.load(std::memory_order_relaxed)) return Error{ErrorCode::Interrupted, "stopped as asked"};
    return ok_status();
  }

 private:
  static constexpr std::int64_t kIntervalNanos = 100'000'000;

  void report() REQUIRES(mutex_) {
    // Not what the caller has added: another thread may have told of more by now.
    const std::uint64_t done = std::min(done_bytes_.load(std::memory_order_relaxed) / passes_, total_bytes_);
    const std::int64_t now = clock_.monotonic_nanos();
    if (done < total_bytes_ && reported_ && now - last_report_ < kIntervalNanos) return;
    reported_ = true;
    last_report_ = now;
    if (!callback_({done, total_bytes_})) stopped_.store(true, std::memory_order_relaxed);
  }

  const ProgressCallback& callback_;
  const Clock& clock_;
  const std::uint64_t total_bytes_;
  const unsigned passes_;
  std::atomic<std::uint64_t> done_bytes_{0};
  std::atomic<bool> stopped_{false};
  Mutex mutex_;  // serialises the callback; nothing of the engine is locked inside
  bool reported_ GUARDED_BY(mutex_) = false;
  std::int64_t last_report_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
