#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/thread/mutex.h"

namespace vaultfs {

// What a progress line says in a terminal of so many columns: bytes, share, rate and time left, as much of it as fits
// into one less, so that it never wraps; all of it ASCII. Empty where nothing fits. `total_bytes` 0: not known.
struct ProgressText {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
  double bytes_per_second = 0;  // of late; 0: nothing moves, so that nobody knows how long it takes
};
[[nodiscard]] std::string progress_text(const ProgressText& now, unsigned columns);
// Of the terminal behind a descriptor: what it says and $COLUMNS says, the lesser; 80 if neither does.
[[nodiscard]] unsigned terminal_columns(int descriptor);

// One line on stderr, redrawn in place. Only on a terminal in whose foreground this process is, and only for what takes
// more than a second. What it shows never falls. Thread-safe.
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
  struct Sample {
    std::int64_t nanos;
    std::uint64_t done_bytes;
  };
  Mutex mutex_;
  bool terminal_ GUARDED_BY(mutex_) = false;
  bool drawn_ GUARDED_BY(mutex_) = false;
  std::int64_t started_nanos_ GUARDED_BY(mutex_) = 0;
  std::int64_t drawn_nanos_ GUARDED_BY(mutex_) = 0;
  std::uint64_t done_bytes_ GUARDED_BY(mutex_) = 0;
  // Of the last seconds: holes at the begin of a disk say nothing of its rest.
  std::deque<Sample> samples_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
