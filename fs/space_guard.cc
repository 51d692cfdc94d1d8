#include "fs/space_guard.h"

#include "base/mutex.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kAskAgainNanos = 500'000'000;
constexpr std::uint64_t kAskAgainBytes = 64ULL << 20;
// What may have been stored since the last question, and then some.
constexpr std::uint64_t kComfortBytes = 1ULL << 30;

}  // namespace

Status SpaceGuard::check(std::uint64_t promised, std::uint64_t bytes, std::uint64_t reserve) {
  const MutexLock lock(mutex_);
  const std::uint64_t needed = promised + bytes + reserve;
  const std::int64_t now = env_.clock().monotonic_nanos();
  accepted_since_ += bytes;
  if (!asked_ || now - asked_at_ > kAskAgainNanos || accepted_since_ > kAskAgainBytes ||
      free_ < needed + kComfortBytes) {
    VAULTFS_ASSIGN_OR_RETURN(free_, env_.free_bytes(path_));
    asked_ = true;
    asked_at_ = now;
    accepted_since_ = 0;
  }
  if (free_ >= needed) return ok_status();
  return Error{ErrorCode::NoSpace, "the disk that holds the vault " + path_.string() +
                                       " is full (vaultfs leaves 64 MiB free); free space there"};
}

}  // namespace vaultfs
