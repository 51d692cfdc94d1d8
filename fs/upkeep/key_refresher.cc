#include "fs/upkeep/key_refresher.h"

#include <algorithm>

#include "base/no_memory.h"
#include "base/thread/mutex.h"

namespace vaultfs {

KeyRefresher::KeyRefresher(KeyCustody& custody, const Clock& clock, bool periodic)
    : custody_(custody), clock_(clock), periodic_(periodic), thread_("key refresher", [this] { run(); }) {}

KeyRefresher::~KeyRefresher() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KeyRefresher::request() {
  {
    const MutexLock lock(mutex_);
    if (recent() || wanted_ > started_) return;
    wanted_ = started_ + 1;
  }
  changed_.notify_all();
}

Result<RefreshOutcome> KeyRefresher::refresh() { return refresh_within(std::chrono::hours(24)); }

Result<RefreshOutcome> KeyRefresher::refresh_within(std::chrono::milliseconds bound) {
  const MutexLock lock(mutex_);
  const std::uint64_t ticket = started_ + 1;
  wanted_ = std::max(wanted_, ticket);
  changed_.notify_all();
  const auto deadline = steady_now() + bound;
  while (finished_ < ticket && !stopping_) {
    if (!changed_.wait_until(mutex_, deadline)) break;
  }
  if (finished_ < ticket) {
    return Error{ErrorCode::KeyVaultUnavailable, "the key vault has not answered in time; the refresh goes on"};
  }
  return *outcome_;
}

void KeyRefresher::refresh_before_job() {
  {
    const MutexLock lock(mutex_);
    if (recent()) return;
  }
  // Trouble of the provider stands in the custody's status, and its deadlines are enforced elsewhere.
  static_cast<void>(refresh_within(kBound));
}

bool KeyRefresher::recent() const { return last_success_ && clock_.monotonic_nanos() - *last_success_ < kRecentNanos; }

std::chrono::milliseconds KeyRefresher::interval() const {
  const EncryptionStatus status = custody_.status();
  if (status.access != KeyAccess::available) return kTroubleInterval;
  return std::chrono::minutes(std::clamp<std::uint32_t>(status.settings.refresh_minutes, 1, 60));
}

void KeyRefresher::wait_until_due(std::chrono::nanoseconds pause) {
  const std::int64_t began = clock_.monotonic_nanos();
  while (!due() && (!periodic_ || clock_.monotonic_nanos() - began < pause.count())) {
    if (periodic_) {
      changed_.wait_for(mutex_, kPiece);
    } else {
      changed_.wait(mutex_);
    }
  }
}

void KeyRefresher::run() {
  for (;;) {
    const std::chrono::nanoseconds pause = interval();
    {
      const MutexLock lock(mutex_);
      wait_until_due(pause);
      if (stopping_) return;
      ++started_;
      wanted_ = std::max(wanted_, started_);
    }
    Result<RefreshOutcome> outcome = or_no_memory([this] { return custody_.refresh(); });
    {
      const MutexLock lock(mutex_);
      finished_ = started_;
      if (outcome.ok()) last_success_ = clock_.monotonic_nanos();
      outcome_ = std::move(outcome);
    }
    changed_.notify_all();
  }
}

}  // namespace vaultfs
