#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace vaultfs {

// A system call on a file that has not returned. A disk that is gone or stands still is seen by nothing else: the
// kernel keeps the thread until it gives an answer.
struct PendingCall {
  std::string what;  // as in "cannot write": write, sync, …
  std::filesystem::path path;
  std::int64_t since_nanos = 0;  // CLOCK_MONOTONIC
};

// The one of this process that waits for longest. Thread-safe.
[[nodiscard]] std::optional<PendingCall> oldest_pending_call();
[[nodiscard]] std::int64_t pending_call_clock() noexcept;

// Marks the calling thread's call for as long as it lives; not one within another. Costs some 50 ns.
class PendingCallMark {
 public:
  // Both must outlive it.
  PendingCallMark(const char* what, const std::filesystem::path& path) noexcept;
  PendingCallMark(const PendingCallMark&) = delete;
  PendingCallMark& operator=(const PendingCallMark&) = delete;
  ~PendingCallMark();
};

}  // namespace vaultfs
