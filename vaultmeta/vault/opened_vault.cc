#include "vaultmeta/vault/opened_vault.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/catalogue/catalogue_change.h"

namespace vaultfs {
OpenedVault::OpenedVault(VaultParts parts)
    : parts_(std::move(parts)),
      epoch_at_opening_(parts_.head.head.epoch),
      point_segments_(*parts_.segments, PointSegments::Damage::skipped),
      next_checkpoint_(parts_.highest_checkpoint.next()),
      patch_healing_(*parts_.segments),
      head_(std::move(parts_.head)),
      oldest_head_(parts_.oldest_head),
      new_pack_(parts_.new_pack),
      current_checkpoint_(head_.head.checkpoint.value) {
  if (parts_.journal == nullptr) return;
  // As it was replayed: all of it is durable.
  named_journal_ = parts_.journal->position();
  points_ = {parts_.replayed_to, parts_.catalogue->points_digest()};
}

OpenedVault::~OpenedVault() = default;

void OpenedVault::attach() {
  parts_.journal->on_new_file([this](const JournalPosition& journal) { return announce_journal(journal); });
  parts_.custody->attach(*this);
}

Status OpenedVault::require_owner() const {
  if (parts_.read_only) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  return ok_status();
}

Journal& OpenedVault::journal() {
  if (parts_.journal == nullptr) std::abort();
  return *parts_.journal;
}

std::vector<std::string> OpenedVault::take_warnings() {
  std::vector<std::string> all = parts_.directory->reserve().take_news();
  const MutexLock lock(warnings_mutex_);
  all.insert(all.begin(), warnings_.begin(), warnings_.end());
  warnings_.clear();
  return all;
}

void OpenedVault::fill_reserve() {
  if (parts_.read_only) return;
  std::uint64_t checkpoint = 0;
  {
    const MutexLock lock(head_mutex_);
    checkpoint = head_.head.checkpoint_bytes;
  }
  // A compaction writes a checkpoint beside the one that is there, and a manifest lists as much at most.
  parts_.directory->reserve().fill(SpaceReserve::kLeastBytes / 2 + 2 * checkpoint);
}

std::vector<std::string> OpenedVault::take_news() {
  const MutexLock lock(warnings_mutex_);
  return std::exchange(news_, {});
}

void OpenedVault::tell(std::string news) {
  const MutexLock lock(warnings_mutex_);
  // Whoever opened it for one command takes none.
  if (news_.size() < kMaxNews) news_.push_back(std::move(news));
}

void OpenedVault::warn(const std::string& what, const Error& error) {
  const MutexLock lock(warnings_mutex_);
  warnings_.push_back(what + ": " + std::string(error_name(error.code)) + ": " + error.message);
}

void OpenedVault::tell_new_fingerprint() {
  const std::string fingerprint = format_fingerprint(parts_.custody->status().fingerprint);
  const MutexLock lock(warnings_mutex_);
  warnings_.push_back("the vault has a new data key; its fingerprint, which replaces the one you have kept, is now " +
                      fingerprint);
}

void OpenedVault::record_activity(const std::string& operation, const std::string& outcome, const std::string& subject,
                                  const std::string& detail) {
  ActivityEntry entry;
  entry.operation = operation;
  entry.outcome = outcome;
  entry.subject = subject;
  entry.detail = detail;
  entry.uid = ::getuid();
  const Status appended = parts_.activity->append(entry);
  if (appended.ok()) return;
  warn("an activity entry could not be written", appended.error());
  // A sealed vault can't be written to: the machine's log keeps what happened meanwhile. It holds no names from inside
  // the vault.
  const Status audited =
      parts_.machine.state.audit(operation, "vault " + to_hex(parts_.header.id.view()) + ": " + outcome);
  if (!audited.ok()) warn("an audit entry could not be written", audited.error());
}

Result<Lsn> OpenedVault::append_catalogue(const Bytes& entry) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, parts_.journal->append(EntryOwner::catalogue, entry));
  VAULTFS_RETURN_IF_ERROR(parts_.catalogue->apply(entry));
  return lsn;
}

void OpenedVault::take_back(const Bytes& entry) {
  if (!append_catalogue(entry).ok()) static_cast<void>(parts_.catalogue->apply(entry));
}

Result<Lsn> OpenedVault::log_catalogue(Bytes entry) {
  const MutexLock lock(change_mutex_);
  return append_catalogue(entry);
}

Lsn OpenedVault::next_lsn() {
  // Under the mutex of begin_job: a job that began before has a lower `begun`, one that begins later has not.
  const MutexLock lock(change_mutex_);
  return parts_.journal->last_appended().next();
}

ContainerNumber OpenedVault::highest_segment() { return ContainerNumber(parts_.segments->next_segment().value - 1); }

Status OpenedVault::roll_containers() {
  const SpaceReserve::ContentUse use(space_reserve());
  VAULTFS_RETURN_IF_ERROR(parts_.segments->close_all_segments());
  VAULTFS_RETURN_IF_ERROR(parts_.journal->rotate(ContainerNumber(current_checkpoint_.load())));
  parts_.activity->roll();
  return ok_status();
}

UnixNanos OpenedVault::newest_time() {
  const UnixNanos known = parts_.catalogue->newest_time();
  const MutexLock lock(head_mutex_);
  return std::max(known, head_.head.written);
}

void OpenedVault::record_key_change(JobNumber number, const std::string& what, const std::string& version,
                                    const Error* failure) {
  JobInfo job;
  job.number = number;
  job.kind = JobKind::key_update;
  job.state = failure == nullptr ? JobState::completed : JobState::failed;
  job.started = job.ended = parts_.machine.env.clock().now();
  const std::string outcome = failure == nullptr ? "Succeeded" : std::string(error_name(failure->code));
  job.detail = what + " " + version + (failure == nullptr ? "" : ": " + outcome + ": " + failure->message);
  log_key_update(std::move(job));
  tell_key_change(what, version, failure);
  record_activity(what, outcome, version, failure == nullptr ? "" : failure->message);
}

void OpenedVault::ensure_recorded(const KeyUpdate& update) {
  const std::optional<JobInfo> newest = parts_.catalogue->last_key_update();
  if (newest && newest->number >= update.job) return;
  JobInfo job;
  job.number = update.job;
  job.kind = JobKind::key_update;
  job.state = JobState::completed;
  job.started = job.ended = update.time;
  job.detail = update.what + " " + update.version;
  log_key_update(std::move(job));
  record_activity(update.what, "Succeeded", update.version, "recorded after a crash");
}

void OpenedVault::record_setting(const std::string& what, const std::string& subject) {
  record_activity(what, "Succeeded", subject, "");
}

void OpenedVault::log_key_update(JobInfo job) {
  Status logged = ok_status();
  {
    const MutexLock lock(change_mutex_);
    job.begun = parts_.journal->last_appended().next();
    if (const auto lsn = append_catalogue(encode_change(job)); !lsn.ok()) logged = lsn.error();
  }
  if (logged.ok()) logged = parts_.journal->commit();
  if (!logged.ok()) warn("a key update job could not be recorded", logged.error());
}

}  // namespace vaultfs
