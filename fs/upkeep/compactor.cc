#include "fs/upkeep/compactor.h"

#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/content/space_guard.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/points/recovery_point_walk.h"

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
constexpr std::uint64_t kNearlyFullFiles = 8 * kFilesKept;

UnixNanos end_of_grace(const Clock& clock) {
  return UnixNanos{clock.now().value - kSupersededGraceSeconds * 1'000'000'000};
}

}  // namespace

Status Compactor::learn_points() {
  std::set<PointNumber> there;
  const std::vector<PointInfo> points = vault_.catalogue().points();
  const std::vector<SupersededManifest> superseded = vault_.catalogue().superseded();
  for (const PointInfo& point : points) there.insert(point.manifest_file());
  for (const SupersededManifest& old : superseded) there.insert(old.file);
  if (!std::ranges::includes(there, learnt_)) {
    kept_.clear();
    listed_bytes_.clear();
    learnt_.clear();
  }
  const auto keep = [this](PointNumber file, const std::vector<Manifest::SegmentNeeded>& inventory) {
    mutex_.assert_held();
    for (const Manifest::SegmentNeeded& segment : inventory) {
      kept_.insert(segment.number);
      listed_bytes_[segment.number] = segment.file_bytes;
    }
    learnt_.insert(file);
  };
  for (const PointInfo& point : points) {
    if (learnt_.contains(point.manifest_file())) continue;
    VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, vault_.load_manifest(point));
    keep(point.manifest_file(), manifest.inventory);
  }
  for (const SupersededManifest& old : superseded) {
    if (learnt_.contains(old.file)) continue;
    const auto inventory = vault_.inventory_of(old);
    if (!inventory.ok() && !is_integrity_error(inventory.code())) return inventory.error();
    // A damaged one is of no use to any copy.
    keep(old.file, inventory.ok() ? *inventory : std::vector<Manifest::SegmentNeeded>());
  }
  return ok_status();
}

bool Compactor::grace_is_over() const {
  const UnixNanos end = end_of_grace(vault_.env().clock());
  const std::vector<SupersededManifest> superseded = vault_.catalogue().superseded();
  return std::ranges::any_of(superseded, [end](const SupersededManifest& old) { return old.since.value <= end.value; });
}

Result<std::optional<Compactor::Plan>> Compactor::plan_for(Occasion occasion) const {
  std::optional<Plan> plan;
  if (grace_is_over()) plan = Plan{kIdle.percent, false};
  if (occasion == Occasion::closing) return plan;
  std::uint64_t all = 0;
  const std::vector<SegmentInfo> segments = vault_.segments().segments();
  const auto pays = [&](const Terms& terms) {
    mutex_.assert_held();
    std::uint64_t garbage = 0;
    for (const SegmentInfo& segment : segments) {
      if (kept_.contains(segment.number)) continue;
      if (segment.unused_bytes * 100 >= segment.stored_bytes * terms.percent) garbage += segment.unused_bytes;
    }
    return garbage >= terms.least_bytes;
  };
  for (const SegmentInfo& segment : segments) all += kept_.contains(segment.number) ? 0 : segment.stored_bytes;
  const bool in_grace = !vault_.catalogue().superseded().empty();
  if (all < kFullDisk.least_bytes && !in_grace) return plan;
  // What an earlier owner left is not known before the first compaction.
  if (pays(kIdle) || (!measured_ && all >= 2 * kIdle.least_bytes)) plan = Plan{kIdle.percent, false};
  if (occasion == Occasion::before_commit && pays(kBeforeCommit)) plan = Plan{kBeforeCommit.percent, false};
  if (measured_ && !pays(kFullDisk) && !in_grace) return plan;
  VAULTFS_ASSIGN_OR_RETURN(const bool full, nearly_full());
  if (full) plan = Plan{kFullDisk.percent, true};
  return plan;
}

Result<bool> Compactor::nearly_full() const {
  // Of a quota that nobody tells of, the reserve does.
  if (const SpaceReserve* reserve = vault_.space_reserve(); reserve != nullptr && reserve->spent()) return true;
  VAULTFS_ASSIGN_OR_RETURN(const FreeSpace free, vault_.env().free_space(vault_.path()));
  return free.bytes < kNearlyFullBytes || free.files < kNearlyFullFiles;
}

Status Compactor::compact_if_due(Occasion occasion) {
  const MutexLock one_at_a_time(mutex_);
  if (occasion == Occasion::before_backup) {
    VAULTFS_ASSIGN_OR_RETURN(const bool full, nearly_full());
    if (!full) return ok_status();
  }
  if (occasion != Occasion::closing) VAULTFS_RETURN_IF_ERROR(learn_points());
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Plan> plan, plan_for(occasion));
  if (!plan.has_value()) return ok_status();
  const auto done = carry_out(*plan);
  return done.ok() ? ok_status() : Status(done.error());
}

Result<bool> Compactor::compact_now() {
  const MutexLock one_at_a_time(mutex_);
  return carry_out(Plan{kIdle.percent, false});
}

Result<bool> Compactor::give_back() {
  const MutexLock one_at_a_time(mutex_);
  return carry_out(Plan{kFullDisk.percent, true});
}

Result<bool> Compactor::carry_out(const Plan& plan) {
  // What is stored anew gives back more than it takes.
  const SpaceReserve::ContentUse use(vault_.space_reserve());
  SharedMutex& long_uses = vault_.segments().long_uses();
  if (!long_uses.try_lock()) return false;
  const WriterLock alone(long_uses, kAdoptLock);
  const auto hold = vault_.env().lock(vault_.path() / kHoldFileName);
  if (!hold.ok()) {
    if (hold.code() == ErrorCode::VaultBusy) return false;
    return hold.error();
  }
  const Clock& clock = vault_.env().clock();
  VAULTFS_RETURN_IF_ERROR(vault_.forget_superseded(plan.without_grace ? clock.now() : end_of_grace(clock)));
  VAULTFS_RETURN_IF_ERROR(learn_points());  // a commit may have ended just now
  VAULTFS_RETURN_IF_ERROR(vault_.segments().close_segment());
  vault_.segments().begin_collection();
  // From here on, a crash brings back this checkpoint's state or a later one: what only older states refer to is
  // garbage.
  VAULTFS_RETURN_IF_ERROR(tree_.checkpoint());
  VAULTFS_RETURN_IF_ERROR(tree_.retain_references());
  VAULTFS_RETURN_IF_ERROR(retain_points());
  CompactionLimits limits;
  limits.least_dead_percent = plan.percent;
  const auto outcome = vault_.segments().compact(kept_, limits);
  vault_.segments_moved();
  if (!outcome.ok()) return outcome.error();
  measured_ = true;
  // What was known to be damaged, and went because nobody needs it, is not to be remembered.
  if (outcome->removed_segments > 0 && vault_.catalogue().damage_count() > 0) {
    if (const auto examined = vault_.examine_damage({}); !examined.ok()) {
      vault_.warn("looking at what was damaged", examined.error());
    }
  }
  return true;
}

bool Compactor::listed_segments_are_there() const {
  std::map<ContainerNumber, std::uint64_t> there;
  for (const SegmentInfo& segment : vault_.segments().segments()) there[segment.number] = segment.file_bytes;
  return std::ranges::includes(there, listed_bytes_);
}

Status Compactor::retain_points() {
  // Otherwise they have it all in segments of their own, which are not looked at.
  if (!vault_.catalogue().reencrypting() && listed_segments_are_there()) return ok_status();
  SegmentStore& segments = vault_.segments();
  // What can't be read leads nowhere: what lies behind it is as lost as it is.
  const auto retain = [&segments](const ChunkId& id) -> Status {
    Status retained = segments.retain(id);
    return !retained.ok() && is_integrity_error(retained.code()) ? ok_status() : retained;
  };
  RecoveryPointWalk walk(segments, retain, [](const ChunkId&, const Error&) {});
  for (const PointInfo& point : vault_.catalogue().points()) {
    VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, vault_.load_manifest(point));
    VAULTFS_RETURN_IF_ERROR(walk.walk(manifest));
  }
  return ok_status();
}

}  // namespace vaultfs
