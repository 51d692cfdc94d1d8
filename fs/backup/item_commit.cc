#include "fs/backup/item_commit.h"

#include <algorithm>

namespace vaultfs {

Result<CommitOutcome> ItemCommit::publish(TreeSnapshot snapshot, const JobInfo& job, bool automatic) {
  const std::vector<std::string> retired_before = retired_versions();
  PointInfo point;
  point.number = vault_.catalogue().take_point_number();
  point.item = job.item;
  point.created = vault_.env().clock().now();
  point.cut = snapshot.cut;
  point.automatic = automatic;
  point.crash_consistent = snapshot.open_for_writing;
  point.logical_bytes = snapshot.logical_bytes;
  point.files = static_cast<std::uint64_t>(
      std::ranges::count(snapshot.inodes, InodeType::file, [](const InodeRecord& inode) { return inode.type; }));
  Manifest manifest{.number = point.number,
                    .item = job.item,
                    .created = point.created,
                    .cut = snapshot.cut,
                    .root = snapshot.root,
                    .inodes = std::move(snapshot.inodes),
                    .inventory = {}};  // publish_point works it out
  const HealedDamage healed = record_healed_damage(&manifest);
  VAULTFS_RETURN_IF_ERROR(vault_.publish_point(std::move(manifest), point, job));

  CommitOutcome outcome{.job = job, .point = point, .retired = {}, .healed = healed};
  finish_outcome(retired_before, job.number, outcome);
  for (const PointInfo& stored : vault_.catalogue().points_of(job.item)) {
    if (stored.number == point.number) outcome.point = stored;
  }
  return outcome;
}

Result<CommitOutcome> ItemCommit::finish_unchanged(JobInfo job, std::optional<PointNumber> turn_explicit) {
  const std::vector<std::string> retired_before = retired_versions();
  const HealedDamage healed = record_healed_damage(nullptr);
  job.state = JobState::completed_no_change;
  const auto damage = vault_.known_damage_of_item(job.item);
  if (!damage.ok() || !damage->empty()) {
    job.state = JobState::completed_with_warnings;
    job.detail = (damage.ok() ? describe(*damage) : damage.error().message) +
                 (job.detail.empty() ? std::string() : "; " + job.detail);
  }
  job.ended = vault_.env().clock().now();
  VAULTFS_RETURN_IF_ERROR(vault_.finish_job(job, turn_explicit));
  CommitOutcome outcome{.job = job, .point = std::nullopt, .retired = {}, .healed = healed};
  finish_outcome(retired_before, job.number, outcome);
  return outcome;
}

HealedDamage ItemCommit::record_healed_damage(const Manifest* newest) {
  if (const Status noted = vault_.remember_damage(); !noted.ok()) vault_.warn("remembering damage", noted.error());
  const auto healed = vault_.record_healed(newest);
  if (healed.ok()) return *healed;
  // It stays known, and the job ends with a warning.
  vault_.warn("looking at what was damaged", healed.error());
  return {};
}

Status ItemCommit::mark_interrupted(const std::string& item, bool interrupted) {
  std::optional<ItemInfo> info = vault_.catalogue().item(item);
  if (!info || info->interrupted == interrupted) return ok_status();
  info->interrupted = interrupted;
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, vault_.log_catalogue(vault_.catalogue().put(*info)));
  return vault_.journal().commit_up_to(lsn);
}

bool ItemCommit::interrupted(const std::string& item) {
  const std::optional<ItemInfo> info = vault_.catalogue().item(item);
  return info && info->interrupted;
}

std::vector<std::string> ItemCommit::retired_versions() {
  std::vector<std::string> out;
  for (const VersionRecord& version : vault_.custody().status().versions) {
    if (version.role == VersionRole::retired) out.push_back(version.version);
  }
  return out;
}

void ItemCommit::finish_outcome(const std::vector<std::string>& before, JobNumber job, CommitOutcome& outcome) {
  const EncryptionStatus status = vault_.custody().status();
  const bool waiting = std::ranges::any_of(status.versions, [](const VersionRecord& version) {
    return version.role == VersionRole::retiring && version.backup_completed;
  });
  // The job has ended well whatever the key vault says now; an outage only delays the retirement.
  if (waiting) static_cast<void>(refresher_.refresh_within(KeyRefresher::kBound));
  outcome.retired = retired_versions();
  // A version that came back has several records, so occurrences are taken away one by one.
  for (const std::string& version : before) {
    const auto known = std::ranges::find(outcome.retired, version);
    if (known != outcome.retired.end()) outcome.retired.erase(known);
  }
  const std::optional<JobInfo> ended = vault_.catalogue().job(job);
  if (ended) outcome.job = *ended;
}

}  // namespace vaultfs
