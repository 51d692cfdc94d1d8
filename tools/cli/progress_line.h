#pragma once

#include <cstdint>

#include "base/mutex.h"

namespace vaultfs {

// One line on stderr, redrawn in place: bytes, share, rate and time left. Only on a terminal, and only for what takes
// more than a second. Thread-safe.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // clears the line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ProgressLine(ProgressLine&&) = delete;
  ProgressLine& operator=(ProgressLine&&) = delete;

  void update(std::uint64_t done_bytes, std::uint64_t total_bytes);

 private:
  Mutex mutex_;
  bool terminal_ GUARDED_BY(mutex_) = false;
  bool drawn_ GUARDED_BY(mutex_) = false;
  std::int64_t started_nanos_ GUARDED_BY(mutex_) = 0;
  std::int64_t drawn_nanos_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
