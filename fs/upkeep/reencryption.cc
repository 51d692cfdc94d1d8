#include "fs/upkeep/reencryption.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {
namespace {

// What a crash or a failed sync makes this run do twice, at most.
constexpr std::uint64_t kSyncBytes = 64ULL << 20;
constexpr std::uint64_t kSyncRecords = 8192;
// After so much, the manifests of the points that were gone through are written anew: until then their records lie in
// segments that no point lists.
constexpr std::uint64_t kPublishBytes = 1ULL << 30;
constexpr std::size_t kPublishPoints = 256;
constexpr std::uint64_t kLookEvery = 1024;
// Rounds after the first only see to points that were made meanwhile.
constexpr int kMaxRounds = 16;
constexpr std::size_t kMaxDamageTold = 100;
constexpr std::chrono::milliseconds kPause{50};
constexpr std::int64_t kShowNanos = 200'000'000;

std::int64_t steady_nanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_now().time_since_epoch()).count();
}

}  // namespace

Reencryption::Reencryption(Vault& vault, WorkingTree& tree, Compactor& compactor, const ReencryptRequest& request,
                           const ProgressCallback& progress, const std::atomic<bool>& session_ends)
    : vault_(vault),
      tree_(tree),
      compactor_(compactor),
      request_(request),
      progress_(progress),
      session_ends_(session_ends),
      space_(vault.env(), vault.path(), vault.space_reserve()),
      walk_(
          vault.segments(), [this](const ChunkId& id) { return reencrypt(id); },
          [this](const ChunkId&, const Error& error) { note_damage("a map page of a recovery point", error); }) {}

Result<ReencryptOutcome> Reencryption::run() {
  VAULTFS_ASSIGN_OR_RETURN(target_, vault_.keys().current());
  outcome_.epoch = target_;
  VAULTFS_ASSIGN_OR_RETURN(before_, old_segments());
  VAULTFS_ASSIGN_OR_RETURN(outcome_.job, vault_.begin_asked_job(JobKind::reencryption, ""));
  outcome_.job.logical_bytes = before_.bytes;
  began_nanos_ = steady_nanos();
  return finish(work());
}

Status Reencryption::work() {
  VAULTFS_ASSIGN_OR_RETURN(std::vector<PointInfo> points, points_to_reencrypt());
  if (before_.numbers.empty() && points.empty() && !vault_.catalogue().reencrypting()) return checkpoint();
  // Before the first record lies outside the segments of its point.
  VAULTFS_RETURN_IF_ERROR(vault_.set_reencrypting(true));
  bool current = false;
  for (int round = 0; round < kMaxRounds && !current; ++round) {
    VAULTFS_RETURN_IF_ERROR(reencrypt_points(points));
    VAULTFS_RETURN_IF_ERROR(reencrypt_working_tree());
    VAULTFS_ASSIGN_OR_RETURN(current, inventories_are_current());
    if (!current) {
      VAULTFS_ASSIGN_OR_RETURN(points, points_to_reencrypt());
    }
  }
  VAULTFS_RETURN_IF_ERROR(checkpoint());
  if (request_.without_grace) VAULTFS_RETURN_IF_ERROR(vault_.end_grace());
  // Where somebody has a use for the segments as they are, a later look of the compactor does it.
  const auto compacted = compactor_.compact_now();
  return compacted.ok() ? ok_status() : Status(compacted.error());
}

Result<Reencryption::Old> Reencryption::old_segments() {
  Old old;
  SegmentStore& segments = vault_.segments();
  for (const SegmentInfo& segment : segments.segments()) {
    const auto epoch = segments.epoch_of(segment.number);
    if (!epoch.ok()) {
      if (is_integrity_error(epoch.code()) || epoch.code() == ErrorCode::IoError) continue;
      return epoch.error();
    }
    if (*epoch >= target_) continue;
    old.numbers.insert(segment.number);
    old.bytes += segment.stored_bytes;
  }
  return old;
}

Result<bool> Reencryption::has_old_epoch(const PointInfo& point, const Old& old) {
  const PointNumber file = point.manifest_file();
  if (clean_.contains(file) || written_.contains(file)) return false;
  const auto look = [&]() -> Result<bool> {
    VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, vault_.manifest_epoch(point));
    if (epoch < target_) return true;
    VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, vault_.load_manifest(point));
    return std::ranges::any_of(manifest.inventory, [&old](const Manifest::SegmentNeeded& segment) {
      return old.numbers.contains(segment.number);
    });
  };
  auto wanted = look();
  if (wanted.ok()) {
    if (!*wanted) clean_.insert(file);
    return wanted;
  }
  if (!is_integrity_error(wanted.code())) return wanted;
  note_damage("recovery point " + point.id(), wanted.error());
  clean_.insert(file);  // told once
  return false;
}

Result<std::vector<PointInfo>> Reencryption::points_to_reencrypt() {
  VAULTFS_ASSIGN_OR_RETURN(const Old old, old_segments());
  std::vector<PointInfo> wanted;
  for (const PointInfo& point : vault_.catalogue().points()) {
    VAULTFS_ASSIGN_OR_RETURN(const bool reencrypt, has_old_epoch(point, old));
    if (reencrypt) wanted.push_back(point);
    VAULTFS_RETURN_IF_ERROR(go_on());
  }
  return wanted;
}

Status Reencryption::reencrypt_points(const std::vector<PointInfo>& points) {
  may_be_gone_ = false;
  std::vector<PointNumber> walked;
  for (const PointInfo& point : points) {
    const auto manifest = vault_.load_manifest(point);
    if (!manifest.ok()) {
      if (!is_integrity_error(manifest.code())) return manifest.error();
      note_damage("recovery point " + point.id(), manifest.error());
      clean_.insert(point.manifest_file());
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(walk_.walk(*manifest));
    walked.push_back(point.number);
    if (unpublished_bytes_ >= kPublishBytes || walked.size() >= kPublishPoints) {
      VAULTFS_RETURN_IF_ERROR(publish(walked));
    }
  }
  return publish(walked);
}

Status Reencryption::publish(std::vector<PointNumber>& walked) {
  VAULTFS_RETURN_IF_ERROR(sync_reencrypted());
  // Nobody but this thread moves records while it has this, so that what is found is so when it is written.
  const ReaderLock references(vault_.segments().long_uses());
  PointSegments places(vault_.segments(), PointSegments::Damage::skipped);
  for (const PointNumber number : walked) {
    Status reencrypted = vault_.rewrite_point(number, places);
    // A writer has stored a damaged chunk anew, and its segment was still open.
    if (!reencrypted.ok() && reencrypted.code() == ErrorCode::TryAgain) {
      places.forget();
      reencrypted = vault_.rewrite_point(number, places);
    }
    if (!reencrypted.ok() && reencrypted.code() == ErrorCode::RecoveryPointNotFound) continue;
    VAULTFS_RETURN_IF_ERROR(reencrypted);
    if (const auto point = vault_.catalogue().point(number)) written_.insert(point->manifest_file());
    ++outcome_.reencrypted_points;
    VAULTFS_RETURN_IF_ERROR(go_on());
  }
  walked.clear();
  unpublished_bytes_ = 0;
  return ok_status();
}

Status Reencryption::reencrypt_working_tree() {
  may_be_gone_ = true;
  VAULTFS_RETURN_IF_ERROR(tree_.visit_references([this](const ChunkId& id) { return reencrypt(id); },
                                                 [this](const ChunkId&, const Error& error) {
                                                   if (error.code == ErrorCode::ChunkMissing) return;
                                                   note_damage("a map page of the working tree", error);
                                                 }));
  return sync_reencrypted();
}

Status Reencryption::reencrypt(const ChunkId& id) {
  if (++visited_ % kLookEvery == 0) VAULTFS_RETURN_IF_ERROR(go_on());
  SegmentStore& segments = vault_.segments();
  const auto reencrypted = [&] {
    const UseGate::Use use = segments.use();
    return segments.reencrypt(id, target_);
  }();
  if (!reencrypted.ok()) {
    if (!is_integrity_error(reencrypted.code())) return reencrypted.error();
    if (may_be_gone_ && reencrypted.code() == ErrorCode::ChunkMissing) return ok_status();
    if (const auto segment = segments.segment_of(id); segment.ok()) damaged_segments_.insert(*segment);
    note_damage("chunk " + to_hex(id.view()), reencrypted.error());
    return ok_status();
  }
  if (reencrypted->records == 0) return ok_status();
  outcome_.moved_chunks += reencrypted->records;
  outcome_.moved_bytes += reencrypted->old_bytes;
  unsynced_records_ += reencrypted->records;
  unsynced_bytes_ += reencrypted->stored_bytes;
  unpublished_bytes_ += reencrypted->stored_bytes;
  if (unsynced_bytes_ >= kSyncBytes || unsynced_records_ >= kSyncRecords) VAULTFS_RETURN_IF_ERROR(sync_reencrypted());
  return keep_to_rate();
}

Status Reencryption::sync_reencrypted() {
  unsynced_bytes_ = 0;
  unsynced_records_ = 0;
  VAULTFS_RETURN_IF_ERROR(vault_.segments().sync_reencrypted());
  // Writers and commits come first.
  if (space_.check(0, 2 * kSyncBytes).ok()) return ok_status();
  return Error{ErrorCode::NoSpace,
               "re-encryption wants room for what it moves, until the old segments go; free space and run it again, "
               "with --no-grace to have them go at once"};
}

Result<bool> Reencryption::inventories_are_current() {
  VAULTFS_RETURN_IF_ERROR(sync_reencrypted());
  for (;;) {
    // A point being made may have looked its segments up before the records moved. Once alone, there is none.
    SharedMutex& long_uses = vault_.segments().long_uses();
    if (long_uses.try_lock()) {
      const WriterLock alone(long_uses, kAdoptLock);
      VAULTFS_ASSIGN_OR_RETURN(const std::vector<PointInfo> more, points_to_reencrypt());
      if (!more.empty()) return false;
      vault_.segments_moved();
      VAULTFS_RETURN_IF_ERROR(vault_.set_reencrypting(false));
      return true;
    }
    VAULTFS_RETURN_IF_ERROR(go_on());
    sleep_for(kPause);
  }
}

// The working tree's own state, too, is sealed anew thereby, and the journals before it go.
Status Reencryption::checkpoint() {
  const ReaderLock references(vault_.segments().long_uses());
  return tree_.checkpoint();
}

void Reencryption::note_damage(const std::string& what, const Error& error) {
  ++outcome_.damaged_records;
  if (outcome_.damage.size() >= kMaxDamageTold) return;
  outcome_.damage.push_back(what + ": " + std::string(error_name(error.code)) + ": " + error.message);
}

Status Reencryption::go_on() {
  show_progress();
  if (progress_({outcome_.moved_bytes, std::max(before_.bytes, outcome_.moved_bytes)})) return ok_status();
  return Error{ErrorCode::Interrupted, "re-encryption was stopped; run again, it goes on with what is left"};
}

Status Reencryption::keep_to_rate() {
  const std::int64_t now = steady_nanos();
  if (now - shown_nanos_ >= kShowNanos) VAULTFS_RETURN_IF_ERROR(go_on());
  if (request_.bytes_per_second == 0) return ok_status();
  const double due_nanos =
      static_cast<double>(outcome_.moved_bytes) * 1e9 / static_cast<double>(request_.bytes_per_second);
  while (static_cast<double>(steady_nanos() - began_nanos_) < due_nanos) {
    VAULTFS_RETURN_IF_ERROR(go_on());
    sleep_for(kPause);
  }
  return ok_status();
}

// For `job list`: in memory only, the end is what is kept.
void Reencryption::show_progress() {
  const std::int64_t now = steady_nanos();
  if (now - shown_nanos_ < kShowNanos) return;
  shown_nanos_ = now;
  JobInfo& job = outcome_.job;
  job.stored_bytes = outcome_.moved_bytes;
  const std::uint64_t percent =
      before_.bytes == 0 ? 0 : std::min<std::uint64_t>(100, outcome_.moved_bytes * 100 / before_.bytes);
  job.detail = "epoch " + std::to_string(target_.value) + ": " + std::to_string(percent) + " % moved";
  static_cast<void>(vault_.catalogue().put(job));
}

Status Reencryption::count_what_is_left() {
  VAULTFS_ASSIGN_OR_RETURN(const Old after, old_segments());
  std::set<ContainerNumber> needed = damaged_segments_;
  for (const PointInfo& point : vault_.catalogue().points()) {
    // What this run found clean or wrote lists older segments for damage only.
    const PointNumber file = point.manifest_file();
    if (outcome_.damaged_records == 0 && (clean_.contains(file) || written_.contains(file))) continue;
    const auto manifest = vault_.load_manifest(point);
    if (!manifest.ok()) continue;
    for (const Manifest::SegmentNeeded& segment : manifest->inventory) needed.insert(segment.number);
  }
  for (const SegmentInfo& segment : vault_.segments().segments()) {
    if (!after.numbers.contains(segment.number)) continue;
    const bool left = needed.contains(segment.number);
    ++(left ? outcome_.left_segments : outcome_.waiting_segments);
    (left ? outcome_.left_bytes : outcome_.waiting_bytes) += segment.stored_bytes;
  }
  outcome_.removed_segments = before_.numbers.size() - std::min(after.numbers.size(), before_.numbers.size());
  outcome_.removed_bytes = before_.bytes - std::min(after.bytes, before_.bytes);
  return ok_status();
}

Result<ReencryptOutcome> Reencryption::finish(const Status& done) {
  JobInfo& job = outcome_.job;
  job.stored_bytes = outcome_.moved_bytes;
  Status result = done;
  if (result.ok()) result = count_what_is_left();
  const bool changed = outcome_.moved_chunks + outcome_.reencrypted_points + outcome_.removed_segments > 0;
  job.state = changed ? JobState::completed : JobState::completed_no_change;
  job.detail = "epoch " + std::to_string(target_.value) + ": " + std::to_string(outcome_.moved_chunks) +
               " chunks moved, " + std::to_string(outcome_.reencrypted_points) + " recovery points reencrypted";
  if (!result.ok()) {
    const JobState stopped = session_ends_.load() ? JobState::interrupted : JobState::cancelled;
    job.state = result.code() == ErrorCode::Interrupted ? stopped : JobState::failed;
    job.detail = std::string(error_name(result.code())) + ": " + result.error().message;
    // What was re-encrypted and not current yet.
    static_cast<void>(vault_.segments().sync_reencrypted());
  } else if (outcome_.damaged_records > 0) {
    job.state = JobState::failed;
    job.detail = std::to_string(outcome_.damaged_records) +
                 " damaged places stayed as they are; first: " + outcome_.damage.front();
  }
  const Status ended = vault_.finish_job(job, std::nullopt);
  if (!result.ok()) return result.error();
  VAULTFS_RETURN_IF_ERROR(ended);
  if (const auto known = vault_.catalogue().job(job.number)) job = *known;
  return outcome_;
}

}  // namespace vaultfs
