#pragma once

#include <ctime>
#include <limits>

#include "base/clock.h"

namespace vaultfs {

// A time as a vault keeps it, in nanoseconds of 64 bits: from 1677-09-21 to 2262-04-11.
struct FileTime {
  UnixNanos time;
  bool clamped = false;  // it was beyond that: this is the nearest there is, never another time
};

[[nodiscard]] inline FileTime file_time_of(const struct timespec& time) noexcept {
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kFirst = std::numeric_limits<std::int64_t>::min();
  const std::int64_t seconds = time.tv_sec;
  if (seconds < kFirst / kNanosPerSecond) return {UnixNanos{kFirst / kNanosPerSecond * kNanosPerSecond}, true};
  const bool too_late = seconds > kLast / kNanosPerSecond ||
                        (seconds == kLast / kNanosPerSecond && time.tv_nsec > kLast % kNanosPerSecond);
  if (too_late) return {UnixNanos{kLast}, true};
  return {UnixNanos{seconds * kNanosPerSecond + time.tv_nsec}, false};
}

}  // namespace vaultfs
