// Jobs and recovery points of an opened vault.
#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "store/record/stream.h"
#include "vaultmeta/catalogue/catalogue_change.h"
#include "vaultmeta/catalogue/item_errors.h"
#include "vaultmeta/points/point_file.h"
#include "vaultmeta/points/point_proof.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {
namespace {

std::string operation_of(JobKind kind) {
  switch (kind) {
    case JobKind::backup:
      return "backup";
    case JobKind::restore:
      return "restore";
    case JobKind::key_update:
      return "key-update";
    case JobKind::reencryption:
      return "reencrypt";
  }
  return "job";
}

bool completed(const JobInfo& job) {
  return job.state == JobState::completed || job.state == JobState::completed_no_change;
}

// The work was done, whatever of the item is damaged.
bool ended_well(const JobInfo& job) { return completed(job) || job.state == JobState::completed_with_warnings; }

std::string joined_detail(const std::string& first, const std::string& second) {
  return first.empty() || second.empty() ? first + second : second + "; " + first;
}

}  // namespace

Result<JobInfo> OpenedVault::begin_job(JobKind kind, const std::string& item) {
  bool recorded = false;
  return start_job(kind, item, recorded);
}

Result<JobInfo> OpenedVault::start_job(JobKind kind, const std::string& item, bool& recorded) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  if (kind == JobKind::backup) {
    if (item.empty() || item.size() > kMaxNameBytes) {
      return Error{ErrorCode::InvalidName, "\"" + item + "\" can't be an item's name; it has 1 to 255 bytes"};
    }
    VAULTFS_RETURN_IF_ERROR(parts_.custody->item_attempted());
  }
  JobInfo job;
  job.number = parts_.catalogue->take_job_number();
  job.kind = kind;
  job.item = item;
  job.started = parts_.machine.env.clock().now();
  {
    const MutexLock lock(change_mutex_);
    job.begun = parts_.journal->last_appended().next();
    VAULTFS_RETURN_IF_ERROR(append_catalogue(encode_change(job)));
  }
  if (Status durable = parts_.journal->commit(); !durable.ok()) {
    // The entry may wait for room or keys, and be written later: then so is this one.
    job.state = JobState::failed;
    job.ended = parts_.machine.env.clock().now();
    job.detail = std::string(error_name(durable.code())) + ": " + durable.error().message;
    {
      const MutexLock lock(change_mutex_);
      take_back(encode_change(job));
    }
    recorded = true;
    record_end(job);
    keep_attempt(job);
    return std::move(durable).error();
  }
  record_activity(operation_of(kind) + ".begin", "Succeeded", item, "job " + std::to_string(job.number.value));
  return job;
}

Status OpenedVault::finish_job(JobInfo job, std::optional<PointNumber> turn_explicit) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  if (job.state == JobState::in_progress) return Error{ErrorCode::InvalidArgument, "the job has not ended"};
  if (job.ended.value == 0) job.ended = parts_.machine.env.clock().now();
  Catalogue& catalogue = *parts_.catalogue;
  {
    const MutexLock lock(change_mutex_);
    std::optional<PointInfo> turned;
    if (turn_explicit.has_value()) {
      VAULTFS_ASSIGN_OR_RETURN(turned, catalogue.find_point(job.item, std::to_string(turn_explicit->value)));
      turned->automatic = false;
      turned->after_interruption = false;
    }
    Bytes entry = encode_change(job);
    if (turned.has_value()) append(entry, encode_change(*turned));
    std::optional<ItemInfo> item = catalogue.item(job.item);
    const bool broken = job.kind == JobKind::backup && !ended_well(job);
    if (item.has_value() && (broken || turn_explicit.has_value()) && item->interrupted != broken) {
      item->interrupted = broken;
      append(entry, encode_change(*item));
    }
    if (const auto taken = append_catalogue(entry); !taken.ok()) {
      // The job is over all the same. What its end would have changed besides has not come about.
      static_cast<void>(catalogue.apply(encode_change(job)));
      record_end(job);
      return taken.error();
    }
  }
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  record_end(job);
  feed_rotation_rule(job);
  return ok_status();
}

void OpenedVault::record_end(const JobInfo& job) {
  const std::string operation = operation_of(job.kind);
  const std::string name = "job " + std::to_string(job.number.value);
  switch (job.state) {
    case JobState::completed:
      return record_activity(operation + ".complete", "Succeeded", job.item, name);
    case JobState::completed_no_change:
      return record_activity(operation + ".complete", "Succeeded", job.item, name + ", no change");
    case JobState::completed_with_warnings:
      return record_activity(operation + ".complete", "CompletedWithWarnings", job.item, name + ": " + job.detail);
    case JobState::cancelled:
      return record_activity(operation + ".cancel", "Cancelled", job.item, name + ": " + job.detail);
    case JobState::interrupted:
      return record_activity(operation + ".interrupted", "Interrupted", job.item, name + ": " + job.detail);
    case JobState::failed:
    case JobState::in_progress:
      return record_activity(operation + ".fail", "Failed", job.item, name + ": " + job.detail);
  }
}

void OpenedVault::feed_rotation_rule(const JobInfo& job) {
  // A point with known damage is no proof that the data is safe under the new version.
  if (job.kind != JobKind::backup || !completed(job)) return;
  KeyCustody& custody = *parts_.custody;
  if (const Status noted = custody.job_completed(job.number, job.begun); !noted.ok()) {
    warn("the rotation rule could not take note of a completed job", noted.error());
    return;
  }
  const EncryptionStatus status = custody.status();
  const bool retiring = std::any_of(status.versions.begin(), status.versions.end(),
                                    [](const VersionRecord& version) { return version.role == VersionRole::retiring; });
  if (!retiring) return;
  // An outage only delays retirement.
  if (const auto refreshed = custody.refresh(); !refreshed.ok()) {
    warn("the key could not be refreshed after a completed job", refreshed.error());
  }
}

Result<Bytes> OpenedVault::seal_manifest(const Manifest& manifest, PointInfo& point) {
  const Bytes inventory = manifest.encode_inventory();
  const Bytes content = manifest.encode();
  // A manifest that could not be read back is no recovery point: a tree that breaks its rules is refused here.
  VAULTFS_RETURN_IF_ERROR(Manifest::decode(content, inventory));
  VAULTFS_ASSIGN_OR_RETURN(Bytes file,
                           seal_stream(parts_.machine.env, keys(), ContainerKind::manifest,
                                       ContainerNumber(point.manifest_file().value), content, ByteView(inventory)));
  point.manifest = sha256(file);
  point.manifest_bytes = file.size();
  return file;
}

Status OpenedVault::put_manifest(PointNumber number, ByteView bytes) {
  const std::string name = kPointFiles.file(number.value);
  Status stored = parts_.blobs->put(name, bytes);
  if (stored.ok() || stored.code() != ErrorCode::AlreadyExists) return stored;
  VAULTFS_RETURN_IF_ERROR(parts_.blobs->set_aside(name));
  warn("a file that this vault did not write had the name of the next recovery point", stored.error());
  return parts_.blobs->put(name, bytes);
}

Result<bool> OpenedVault::close_around(Manifest& manifest) {
  // A re-encryption may store what the point has anew at any time, each record once.
  constexpr int kMostClosings = 100;
  for (int closings = 1;; ++closings) {
    VAULTFS_RETURN_IF_ERROR(parts_.segments->sync());
    VAULTFS_RETURN_IF_ERROR(parts_.segments->close_segment());
    bool skipped = false;
    auto inventory = point_segments_.of(manifest.inodes, skipped);
    if (inventory.ok()) {
      manifest.inventory = std::move(inventory).value();
      return skipped;
    }
    if (inventory.code() != ErrorCode::TryAgain || closings == kMostClosings) return std::move(inventory).error();
  }
}

Status OpenedVault::publish_point(Manifest manifest, PointInfo point, JobInfo job) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const SpaceReserve::ContentUse use(space_reserve());
  Catalogue& catalogue = *parts_.catalogue;
  if (point.number.value == 0) point.number = catalogue.take_point_number();
  if (point.created.value == 0) point.created = parts_.machine.env.clock().now();
  if (point.item == job.item) VAULTFS_RETURN_IF_ERROR(register_item(point.item));
  std::optional<ItemInfo> item = catalogue.item(point.item);
  if (!item.has_value()) return no_such_item(point.item);
  if (point.automatic && item->interrupted) point.after_interruption = true;

  manifest.number = point.number;
  manifest.item = point.item;
  manifest.created = point.created;
  manifest.cut = point.cut;
  VAULTFS_ASSIGN_OR_RETURN(const bool skipped, close_around(manifest));
  if (job.state != JobState::completed_with_warnings) job.state = JobState::completed;
  bool damaged = false;
  if (skipped || catalogue.damage_count() > 0) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DamagedRange> damage, known_damage_of(manifest));
    damaged = !damage.empty() || skipped;
    if (damaged) {
      job.state = JobState::completed_with_warnings;
      job.detail = joined_detail(job.detail, damage.empty() ? "something of it can't be read" : describe(damage));
    }
  }
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, seal_manifest(manifest, point));
  VAULTFS_RETURN_IF_ERROR(put_manifest(point.number, file));

  job.point = point.number;
  if (job.ended.value == 0) job.ended = parts_.machine.env.clock().now();
  Status logged = ok_status();
  {
    const MutexLock lock(change_mutex_);
    Bytes entry = encode_change(point);
    append(entry, encode_change(job));
    if (!point.automatic && item->interrupted) {
      item->interrupted = false;
      append(entry, encode_change(*item));
    }
    if (const auto lsn = append_catalogue(entry); !lsn.ok()) logged = lsn.error();
  }
  if (logged.ok()) logged = parts_.journal->commit();
  if (!logged.ok()) {
    // Where the journal is dead, whether the entry reached the disk is unknown: the next opening tells. Until then
    // there is no point. Its file stays: if the entry did survive, the file is needed. A journal that only waits for
    // room will write the entry, and this one after it.
    const MutexLock lock(change_mutex_);
    Bytes taken_back = encode_removed_point(point.number);
    job.state = JobState::failed;
    job.point = PointNumber{};
    append(taken_back, encode_change(job));
    take_back(taken_back);
    return logged;
  }
  record_end(job);
  // From here on the point is complete whatever happens.
  if (const Status written = write_head(); !written.ok()) warn("a head could not be written", written.error());
  // What was stored is safe under the new version, whatever speaks against its source.
  if (!damaged) job.state = JobState::completed;
  feed_rotation_rule(job);
  return ok_status();
}

Result<Manifest> OpenedVault::load_manifest(const PointInfo& point) {
  // The caller's point may be of before its manifest was written anew, and that may happen once more meanwhile.
  PointInfo current = parts_.catalogue->point(point.number).value_or(point);
  if (current.unproven && !parts_.takes_unproven) return nobody_vouches_for(current);
  auto manifest = read_manifest_of(*parts_.blobs, keys(), current);
  if (manifest.ok()) return manifest;
  const PointNumber tried =
      std::exchange(current, parts_.catalogue->point(point.number).value_or(point)).manifest_file();
  return current.manifest_file() == tried ? std::move(manifest) : read_manifest_of(*parts_.blobs, keys(), current);
}

Result<std::size_t> OpenedVault::interrupt_unfinished_jobs() {
  std::vector<JobInfo> unfinished = parts_.catalogue->jobs();
  std::erase_if(unfinished, [](const JobInfo& job) { return job.state != JobState::in_progress; });
  if (unfinished.empty()) return std::size_t{0};
  for (JobInfo& job : unfinished) {
    job.state = JobState::interrupted;
    job.ended = parts_.machine.env.clock().now();
    job.detail = "the owner ended without finishing the job";
    const MutexLock lock(change_mutex_);
    Bytes entry = encode_change(job);
    std::optional<ItemInfo> item = parts_.catalogue->item(job.item);
    if (job.kind == JobKind::backup && item.has_value()) {
      item->interrupted = true;
      append(entry, encode_change(*item));
    }
    VAULTFS_RETURN_IF_ERROR(append_catalogue(entry));
  }
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  for (const JobInfo& job : unfinished) record_end(job);
  return unfinished.size();
}

}  // namespace vaultfs
