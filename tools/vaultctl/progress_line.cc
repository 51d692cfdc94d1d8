#include "tools/vaultctl/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kFirstAfterNanos = 1'000'000'000;
constexpr std::int64_t kRedrawNanos = 200'000'000;
constexpr std::int64_t kRateNanos = 10'000'000'000;   // over which the rate is taken
constexpr double kLongestSeconds = 99.0 * 24 * 3600;  // that is worth telling

// Whoever runs in the background of a shell must not write over what its user types.
bool is_in_foreground() {
  const pid_t foreground = ::tcgetpgrp(STDERR_FILENO);
  return foreground < 0 || foreground == ::getpgrp();
}

}  // namespace

std::string progress_text(const ProgressText& now, unsigned columns) {
  const std::string done = human_bytes(now.done_bytes);
  const std::string rate = ", " + human_bytes(static_cast<std::uint64_t>(std::max(0.0, now.bytes_per_second))) + "/s";
  std::vector<std::string> forms;  // the longest first
  if (now.total_bytes == 0 || now.done_bytes > now.total_bytes) {
    forms = {done + rate, done};
  } else {
    // Not rounded: 100 % is all of it.
    const auto percent = std::floor(100.0 * static_cast<double>(now.done_bytes) / static_cast<double>(now.total_bytes));
    const std::string share = std::to_string(static_cast<unsigned>(percent)) + " %";
    const std::string sizes = done + " of " + human_bytes(now.total_bytes) + " (" + share + ")";
    const double left = now.bytes_per_second >= 1
                            ? static_cast<double>(now.total_bytes - now.done_bytes) / now.bytes_per_second
                            : kLongestSeconds + 1;
    if (left <= kLongestSeconds) forms.push_back(sizes + rate + ", " + human_seconds(left) + " left");
    for (const std::string& form : {sizes + rate, sizes, share}) forms.push_back(form);
  }
  for (const std::string& form : forms) {
    if (form.size() < columns) return form;
  }
  return "";
}

unsigned terminal_columns(int descriptor) {
  constexpr unsigned kUsual = 80;
  winsize size{};
  unsigned columns = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
  unsigned wanted = 0;
  if (const char* text = std::getenv("COLUMNS"); text != nullptr) {
    std::from_chars(text, text + std::strlen(text), wanted);
  }
  if (wanted != 0 && (columns == 0 || wanted < columns)) columns = wanted;
  return columns == 0 ? kUsual : columns;
}

ProgressLine::ProgressLine()
    : terminal_(::isatty(STDERR_FILENO) != 0), started_nanos_(system_clock().monotonic_nanos()) {
  samples_.push_back({started_nanos_, 0});
}

ProgressLine::~ProgressLine() {
  if (drawn_) erase_drawn_line();
}

void ProgressLine::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  const MutexLock lock(mutex_);
  if (!terminal_) return;
  const std::int64_t now = system_clock().monotonic_nanos();
  done_bytes_ = std::max(done_bytes_, done_bytes);
  if (now - samples_.back().nanos >= kRedrawNanos) samples_.push_back({now, done_bytes_});
  while (samples_.size() > 2 && now - samples_[1].nanos >= kRateNanos) samples_.pop_front();
  if (now - started_nanos_ < kFirstAfterNanos || now - drawn_nanos_ < kRedrawNanos || !is_in_foreground()) return;
  drawn_nanos_ = now;
  drawn_ = true;
  const Sample& from = samples_.front();
  const double rate = static_cast<double>(done_bytes_ - from.done_bytes) * 1e9 /
                      static_cast<double>(std::max<std::int64_t>(now - from.nanos, 1));
  draw_line(progress_text({done_bytes_, total_bytes, rate}, terminal_columns(STDERR_FILENO)));
}

}  // namespace vaultfs
