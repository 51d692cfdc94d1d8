#include "fs/content/space_guard.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kAskAgainNanos = 500'000'000;
constexpr std::uint64_t kAskAgainBytes = 64ULL << 20;
// What may have been stored since the last question, and then some.
constexpr std::uint64_t kComfortBytes = 1ULL << 30;
constexpr std::uint64_t kComfortFiles = 1000;

Error no_room(const std::string& vault, const FreeSpace& free, const SpaceReserve* kept) {
  const std::string disk = "the disk that holds the vault " + vault;
  std::string why;
  if (free.files < kFilesKept) {
    why = free.files_by_quota ? "the quota of files on " + disk + " is used up; remove files there, or have it raised"
                              : disk + " has no inodes left for more files (df -i); remove files there";
  } else if (kept != nullptr && kept->spent()) {
    why = disk +
          " is full, or a quota of it is used up: what was kept for commits, removals and keys is being used; free "
          "space there";
  } else if (free.bytes_by_quota) {
    why = "the quota on " + disk + " is used up (vaultfs leaves 64 MiB free); free space there, or have it raised";
  } else {
    why = disk + " is full (vaultfs leaves 64 MiB free); free space there";
  }
  return Error{ErrorCode::NoSpace, std::move(why)};
}

}  // namespace

std::uint64_t usable_bytes(const FreeSpace& free, SpaceReserve* kept, std::uint64_t reserve) {
  if (free.files < kFilesKept || (kept != nullptr && kept->spent())) return 0;
  if (kept != nullptr) reserve -= std::min(reserve, kept->held_bytes());
  return free.bytes - std::min(free.bytes, reserve);
}

Status SpaceGuard::ask(std::uint64_t bytes, std::uint64_t needed) {
  const std::int64_t now = env_.clock().monotonic_nanos();
  accepted_since_ += bytes;
  const bool known = asked_ && now - asked_at_ <= kAskAgainNanos && accepted_since_ <= kAskAgainBytes;
  if (known && free_.bytes >= needed + kComfortBytes && free_.files >= kComfortFiles) return ok_status();
  // What had to be given up may find room again. Where it does not, it is not tried for each write.
  if (kept_ != nullptr && kept_->spent() && (!asked_ || now - tried_at_ > kAskAgainNanos)) {
    tried_at_ = now;
    kept_->fill_again();
  }
  VAULTFS_ASSIGN_OR_RETURN(free_, env_.free_space(path_));
  asked_ = true;
  asked_at_ = now;
  accepted_since_ = 0;
  return ok_status();
}

Status SpaceGuard::check(std::uint64_t promised, std::uint64_t bytes, std::uint64_t reserve) {
  const MutexLock lock(mutex_);
  const std::uint64_t needed = promised + bytes;
  VAULTFS_RETURN_IF_ERROR(ask(bytes, needed + reserve));
  if (usable_bytes(free_, kept_, reserve) >= needed) return ok_status();
  return no_room(path_.string(), free_, kept_);
}

Status SpaceGuard::check_accepted(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(ask(0, bytes));
  const bool is_spent = kept_ != nullptr && kept_->spent();
  if (!is_spent && free_.bytes >= bytes) return ok_status();
  return no_room(path_.string(), free_, kept_);
}

}  // namespace vaultfs
