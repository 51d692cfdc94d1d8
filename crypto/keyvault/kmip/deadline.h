#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace vaultfs {

// The end of one call to a KMIP server, by the monotonic clock. Everything that the call waits for is bounded by it.
class KmipDeadline {
 public:
  KmipDeadline(const Clock& clock, std::chrono::milliseconds from_now)
      : clock_(&clock), end_nanos_(clock.monotonic_nanos() + std::chrono::nanoseconds(from_now).count()) {}

  // Rounded up, so that a wait of that length reaches the deadline; 0 when it has passed.
  [[nodiscard]] std::chrono::milliseconds remaining() const {
    const std::int64_t nanos = std::max<std::int64_t>(end_nanos_ - clock_->monotonic_nanos(), 0);
    return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::nanoseconds(nanos));
  }
  // One that ends after `part` at the latest.
  [[nodiscard]] KmipDeadline within(std::chrono::milliseconds part) const {
    KmipDeadline earlier(*clock_, part);
    earlier.end_nanos_ = std::min(earlier.end_nanos_, end_nanos_);
    return earlier;
  }

 private:
  const Clock* clock_;
  std::int64_t end_nanos_;
};

}  // namespace vaultfs
