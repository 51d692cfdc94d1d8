#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "base/thread/thread.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {

// Refreshes a vault's keys (architecture, "The rotation rule", 1) from one thread of its own: now and then by itself,
// and when asked. So nobody who can't wait for a key vault has to. Thread-safe.
class KeyRefresher {
 public:
  // A refresh that ended within this time counts as one made now.
  static constexpr std::int64_t kRecentNanos = 5'000'000'000;
  static constexpr std::chrono::seconds kBound{10};
  // How often it tries while access is denied or the key vault out of reach, so that the vault heals soon.
  static constexpr std::chrono::seconds kTroubleInterval{15};

  // The longest piece of a periodic wait: a condition variable's time stops in a suspend, the Clock's does not.
  static constexpr std::chrono::milliseconds kPiece{1000};

  // `periodic`: refreshes every settings.refresh_minutes too.
  KeyRefresher(KeyCustody& custody, const Clock& clock, bool periodic);
  KeyRefresher(const KeyRefresher&) = delete;
  KeyRefresher& operator=(const KeyRefresher&) = delete;
  // Waits for a refresh that is under way.
  ~KeyRefresher();

  // Makes one soon in the background, unless one was made just now. Returns at once.
  void request();
  // Makes one that begins after this call and waits for its end.
  [[nodiscard]] Result<RefreshOutcome> refresh();
  // The same, but waits for at most `bound` (KeyVaultUnavailable beyond; the refresh goes on).
  [[nodiscard]] Result<RefreshOutcome> refresh_within(std::chrono::milliseconds bound);
  // As refresh_within(kBound), unless one was made just now. Trouble is in the custody's status, not here: a job starts
  // with the keys there are.
  void refresh_before_job();

 private:
  void run();
  [[nodiscard]] bool recent() const REQUIRES(mutex_);
  [[nodiscard]] std::chrono::milliseconds interval() const;
  // Until one was asked for, it is to stop, or, if periodic, `pause` is over by the Clock.
  void wait_until_due(std::chrono::nanoseconds pause) REQUIRES(mutex_);
  [[nodiscard]] bool due() const REQUIRES(mutex_) { return stopping_ || wanted_ > started_; }

  KeyCustody& custody_;
  const Clock& clock_;
  const bool periodic_;
  Mutex mutex_;  // not held while a refresh runs
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::uint64_t wanted_ GUARDED_BY(mutex_) = 0;    // refreshes with a number up to this one were asked for
  std::uint64_t started_ GUARDED_BY(mutex_) = 0;   // number of the newest that was begun
  std::uint64_t finished_ GUARDED_BY(mutex_) = 0;  // and of the newest that has ended
  std::optional<std::int64_t> last_success_ GUARDED_BY(mutex_);       // monotonic nanoseconds
  std::optional<Result<RefreshOutcome>> outcome_ GUARDED_BY(mutex_);  // of `finished_`
  Thread thread_;
};

}  // namespace vaultfs
