#pragma once

#include <cstdint>

namespace vaultfs {

inline constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
inline constexpr std::int64_t kSecondsPerDay = 86'400;

// Nanoseconds since 1970-01-01 UTC.
struct UnixNanos {
  std::int64_t value = 0;
  [[nodiscard]] std::int64_t seconds() const noexcept { return value / kNanosPerSecond; }
  auto operator<=>(const UnixNanos&) const = default;
};

// Time, replaceable in tests. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual UnixNanos now() const = 0;
  // Never goes back, whatever is done to the wall clock, and runs on while the machine is suspended (CLOCK_BOOTTIME): a
  // grace that began before a suspend is over afterwards if its time is over. For measuring, grace and time-outs only.
  // The waits of the standard library stop in a suspend: who waits for a point of this clock waits in short pieces.
  [[nodiscard]] virtual std::int64_t monotonic_nanos() const = 0;
};

// The machine's clocks.
[[nodiscard]] Clock& system_clock();

}  // namespace vaultfs
