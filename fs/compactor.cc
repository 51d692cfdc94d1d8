#include "fs/compactor.h"

#include <shared_mutex>

#include "fs/space_guard.h"
#include "vaultmeta/vault_layout.h"

namespace vaultfs {
namespace {

struct Terms {
  std::uint64_t least_bytes;  // garbage in segments that have …
  unsigned percent;           // … at least this much of it
};
constexpr Terms kIdle{256ULL << 20, 50};
constexpr Terms kBeforeCommit{16ULL << 20, 20};
constexpr Terms kFullDisk{1ULL << 20, 5};

// Free space at which every bit of garbage counts.
constexpr std::uint64_t kNearlyFullBytes = kSpaceReserveBytes + (256ULL << 20);

}  // namespace

Status Compactor::learn_points() {
  for (const PointInfo& point : vault_.catalogue().points()) {
    if (learnt_.contains(point.number)) continue;
    VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, vault_.load_manifest(point));
    for (const Manifest::SegmentNeeded& segment : manifest.inventory) kept_.insert(segment.number);
    learnt_.insert(point.number);
  }
  return ok_status();
}

Result<std::optional<unsigned>> Compactor::worthwhile_percent(Occasion occasion) const {
  std::uint64_t all = 0;
  const std::vector<SegmentInfo> segments = vault_.segments().segments();
  const auto pays = [&](const Terms& terms) {
    std::uint64_t garbage = 0;
    for (const SegmentInfo& segment : segments) {
      if (kept_.contains(segment.number)) continue;
      if (segment.unused_bytes * 100 >= segment.stored_bytes * terms.percent) garbage += segment.unused_bytes;
    }
    return garbage >= terms.least_bytes;
  };
  for (const SegmentInfo& segment : segments) all += kept_.contains(segment.number) ? 0 : segment.stored_bytes;
  std::optional<unsigned> percent;
  if (all < kFullDisk.least_bytes) return percent;
  // What an earlier owner left is not known before the first compaction.
  if (pays(kIdle) || (!measured_ && all >= 2 * kIdle.least_bytes)) percent = kIdle.percent;
  if (occasion == Occasion::before_commit && pays(kBeforeCommit)) percent = kBeforeCommit.percent;
  if (measured_ && !pays(kFullDisk)) return percent;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t free, vault_.env().free_bytes(vault_.path()));
  if (free < kNearlyFullBytes) percent = kFullDisk.percent;
  return percent;
}

Status Compactor::compact_if_due(Occasion occasion) {
  const std::lock_guard one_at_a_time(mutex_);
  VAULTFS_RETURN_IF_ERROR(learn_points());
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<unsigned> percent, worthwhile_percent(occasion));
  if (!percent.has_value()) return ok_status();
  const std::unique_lock alone(vault_.segments().long_uses(), std::try_to_lock);
  if (!alone.owns_lock()) return ok_status();
  const auto hold = vault_.env().lock(vault_.path() / kHoldFileName);
  if (!hold.ok()) {
    if (hold.code() == ErrorCode::VaultBusy) return ok_status();
    return hold.error();
  }
  VAULTFS_RETURN_IF_ERROR(learn_points());  // a commit may have ended just now
  VAULTFS_RETURN_IF_ERROR(vault_.segments().close_segment());
  vault_.segments().begin_collection();
  // From here on, a crash brings back this checkpoint's state or a later one: what only older states refer to is
  // garbage.
  VAULTFS_RETURN_IF_ERROR(tree_.checkpoint());
  VAULTFS_RETURN_IF_ERROR(tree_.retain_references());
  CompactionLimits limits;
  limits.least_dead_percent = *percent;
  const auto outcome = vault_.segments().compact(kept_, limits);
  vault_.segments_moved();
  VAULTFS_RETURN_IF_ERROR(outcome);
  measured_ = true;
  return ok_status();
}

}  // namespace vaultfs
