#include "tools/cli/progress_line.h"

#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "base/mutex.h"
#include "tools/cli/text_output.h"

namespace vaultfs {
namespace {
constexpr std::int64_t kFirstAfterNanos = 1'000'000'000;
constexpr std::int64_t kRedrawNanos = 200'000'000;
}  // namespace

ProgressLine::ProgressLine()
    : terminal_(::isatty(STDERR_FILENO) != 0), started_nanos_(system_clock().monotonic_nanos()) {}

ProgressLine::~ProgressLine() {
  if (drawn_) static_cast<void>(std::fputs("\r\033[K", stderr));
}

void ProgressLine::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  const MutexLock lock(mutex_);
  if (!terminal_) return;
  const std::int64_t now = system_clock().monotonic_nanos();
  const std::int64_t since_start = now - started_nanos_;
  if (since_start < kFirstAfterNanos || now - drawn_nanos_ < kRedrawNanos) return;
  drawn_nanos_ = now;
  drawn_ = true;
  const double rate = static_cast<double>(done_bytes) * 1e9 / static_cast<double>(since_start);
  if (total_bytes == 0 || done_bytes > total_bytes) {
    static_cast<void>(std::fprintf(stderr, "\r\033[K%s, %s/s", human_bytes(done_bytes).c_str(),
                                   human_bytes(static_cast<std::uint64_t>(rate)).c_str()));
  } else {
    const double left = rate > 0 ? static_cast<double>(total_bytes - done_bytes) / rate : 0;
    static_cast<void>(std::fprintf(stderr, "\r\033[K%s of %s (%.0f %%), %s/s, %s left", human_bytes(done_bytes).c_str(),
                                   human_bytes(total_bytes).c_str(),
                                   100.0 * static_cast<double>(done_bytes) / static_cast<double>(total_bytes),
                                   human_bytes(static_cast<std::uint64_t>(rate)).c_str(), human_seconds(left).c_str()));
  }
  static_cast<void>(std::fflush(stderr));
}

}  // namespace vaultfs
