#pragma once

#include <cstdint>

#include "base/env.h"
#include "base/mutex.h"
#include "base/result.h"

namespace vaultfs {

// Bytes kept free for unlink, commit, rotation and prune on a full disk.
inline constexpr std::uint64_t kSpaceReserveBytes = 64ULL << 20;

// Refuses what could not be stored any more. Asks the file system now and then, always when it gets tight. Thread-safe.
class SpaceGuard {
 public:
  SpaceGuard(Env& env, Env::Path path) : env_(env), path_(std::move(path)) {}
  // NoSpace unless `promised` (the worst case of what is in memory already) plus `bytes` fit above the reserve.
  [[nodiscard]] Status check(std::uint64_t promised, std::uint64_t bytes, std::uint64_t reserve = kSpaceReserveBytes);

 private:
  Env& env_;
  const Env::Path path_;
  Mutex mutex_;  // a leaf
  std::uint64_t free_ GUARDED_BY(mutex_) = 0;
  std::uint64_t accepted_since_ GUARDED_BY(mutex_) = 0;
  std::int64_t asked_at_ GUARDED_BY(mutex_) = 0;
  bool asked_ GUARDED_BY(mutex_) = false;
};

}  // namespace vaultfs
