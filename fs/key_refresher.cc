#include "fs/key_refresher.h"

#include <algorithm>

#include "base/no_memory.h"

namespace vaultfs {

KeyRefresher::KeyRefresher(KeyCustody& custody, const Clock& clock, bool periodic)
    : custody_(custody), clock_(clock), periodic_(periodic), thread_([this] { run(); }) {}

KeyRefresher::~KeyRefresher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KeyRefresher::request() {
  {
    const std::lock_guard lock(mutex_);
    if (recent() || wanted_ > started_) return;
    wanted_ = started_ + 1;
  }
  changed_.notify_all();
}

Result<RefreshOutcome> KeyRefresher::refresh() { return refresh_within(std::chrono::hours(24)); }

Result<RefreshOutcome> KeyRefresher::refresh_within(std::chrono::milliseconds bound) {
  std::unique_lock lock(mutex_);
  const std::uint64_t ticket = started_ + 1;
  wanted_ = std::max(wanted_, ticket);
  changed_.notify_all();
  if (!changed_.wait_for(lock, bound, [&] { return finished_ >= ticket || stopping_; }) || finished_ < ticket) {
    return Error{ErrorCode::KeyVaultUnavailable, "the key vault has not answered in time; the refresh goes on"};
  }
  return *outcome_;
}

void KeyRefresher::refresh_before_job() {
  {
    const std::lock_guard lock(mutex_);
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

void KeyRefresher::wait_until_due(std::unique_lock<std::mutex>& lock, std::chrono::nanoseconds pause) {
  const auto due = [this] { return stopping_ || wanted_ > started_; };
  if (!periodic_) {
    changed_.wait(lock, due);
    return;
  }
  const std::int64_t began = clock_.monotonic_nanos();
  while (!changed_.wait_for(lock, kPiece, due) && clock_.monotonic_nanos() - began < pause.count()) {
  }
}

void KeyRefresher::run() {
  for (;;) {
    const std::chrono::nanoseconds pause = interval();
    {
      std::unique_lock lock(mutex_);
      wait_until_due(lock, pause);
      if (stopping_) return;
      ++started_;
      wanted_ = std::max(wanted_, started_);
    }
    Result<RefreshOutcome> outcome = or_no_memory([this] { return custody_.refresh(); });
    {
      const std::lock_guard lock(mutex_);
      finished_ = started_;
      if (outcome.ok()) last_success_ = clock_.monotonic_nanos();
      outcome_ = std::move(outcome);
    }
    changed_.notify_all();
  }
}

}  // namespace vaultfs
