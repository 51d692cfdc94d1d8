#pragma once

#include <cstdint>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "vaultmeta/layout/space_reserve.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// Bytes kept free for unlink, commit, rotation and prune on a full disk; what SpaceReserve holds is part of them.
inline constexpr std::uint64_t kSpaceReserveBytes = 64ULL << 20;
// Inodes likewise, beside those that SpaceReserve holds: content is refused before its segment finds none.
inline constexpr std::uint64_t kFilesKept = 8;

// The worst case of a chunk on disk.
inline constexpr std::uint64_t kStoredChunkBytes = kChunkBytes + 4096;

// What new content may take: `reserve` is left alone. Nothing where inodes have run out, or where SpaceReserve had to
// be given up. `kept` may be null.
[[nodiscard]] std::uint64_t usable_bytes(const FreeSpace& free, SpaceReserve* kept,
                                         std::uint64_t reserve = kSpaceReserveBytes);

// Refuses what could not be stored any more. Asks the file system now and then, always when it gets tight. Thread-safe.
class SpaceGuard {
 public:
  // `kept` may be null; otherwise it must outlive the guard.
  SpaceGuard(Env& env, Env::Path path, SpaceReserve* kept) : env_(env), path_(std::move(path)), kept_(kept) {}
  // NoSpace unless `promised` (the worst case of what is in memory already) plus `bytes` fit above the reserve.
  [[nodiscard]] Status check(std::uint64_t promised, std::uint64_t bytes, std::uint64_t reserve = kSpaceReserveBytes);
  // NoSpace if `bytes` of what was accepted before can't be journalled without what is kept for commits, removals and
  // keys.
  [[nodiscard]] Status check_accepted(std::uint64_t bytes);

 private:
  // Asks, if what is known is old or near to `needed`.
  [[nodiscard]] Status ask(std::uint64_t bytes, std::uint64_t needed) REQUIRES(mutex_);

  Env& env_;
  const Env::Path path_;
  SpaceReserve* const kept_;
  Mutex mutex_;  // only the reserve's is taken under it
  FreeSpace free_ GUARDED_BY(mutex_);
  std::uint64_t accepted_since_ GUARDED_BY(mutex_) = 0;
  std::int64_t asked_at_ GUARDED_BY(mutex_) = 0;
  std::int64_t tried_at_ GUARDED_BY(mutex_) = 0;  // to make the reserve whole
  bool asked_ GUARDED_BY(mutex_) = false;
};

}  // namespace vaultfs
