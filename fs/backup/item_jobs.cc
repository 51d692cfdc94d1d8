#include "fs/backup/item_jobs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "vaultmeta/catalogue/item_errors.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kRetryNanos = std::int64_t{15} * 60 * kNanosPerSecond;

std::string describe(const Error& error) { return std::string(error_name(error.code)) + ": " + error.message; }

// A write failure ended the job between the start of its commit and the cut.
Error failed_meanwhile() {
  return Error{ErrorCode::JobFailed, "a write of the item failed while it was committed; commit it again"};
}

}  // namespace

ItemJobs::ItemJobs(Vault& vault, WorkingTree& tree, KeyRefresher& refresher, Options options)
    : vault_(vault), tree_(tree), refresher_(refresher), options_(std::move(options)), publisher_(vault, refresher) {}

ItemJobs::~ItemJobs() = default;

void ItemJobs::take_stock() {
  for (const std::string& name : tree_.item_names()) static_cast<void>(item_of(name));
}

ItemJobs::Item& ItemJobs::item_of(const std::string& name) {
  {
    const ReaderLock lock(items_mutex_);
    const auto known = items_.find(name);
    if (known != items_.end()) return *known->second;
  }
  // What is appended from here on belongs to a job: the caller is about to make the item's first change.
  const Lsn accounted = next_lsn();
  const WriterLock lock(items_mutex_);
  std::unique_ptr<Item>& item = items_[name];
  if (item == nullptr) item = std::make_unique<Item>(name, accounted);
  return *item;
}

Status ItemJobs::before_change(const std::string& name) {
  Item& item = item_of(name);
  item.last_change_nanos.store(now_nanos(), std::memory_order_relaxed);
  if (item.covered.load(std::memory_order_acquire)) return ok_status();
  return start_job(item);
}

void ItemJobs::write_failed(const std::string& name, const Error& error) {
  Item& item = item_of(name);
  // Both under the lock: who ends the failed job and begins the next job would otherwise find that job uncovered.
  const MutexLock lock(item.failure_mutex);
  if (!item.failure) item.failure = error;
  // The next change, commit or look of the timer ends the job: that needs the journal, which the caller may be using.
  item.covered.store(false, std::memory_order_release);
}

Status ItemJobs::start_job(Item& item) {
  const MutexLock lock(item.mutex);
  end_failed_job(item);
  // A failure that has just come does not begin a second job beside the one that it will end.
  if (item.covered.load(std::memory_order_acquire) || item.running) return ok_status();
  VAULTFS_RETURN_IF_ERROR(begin_running(item, false));
  refresher_.request();
  return ok_status();
}

Status ItemJobs::begin_running(Item& item, bool asked) {
  // What failed to begin is told once, not again with each write to a full disk.
  if (item.failed_start && !asked) VAULTFS_RETURN_IF_ERROR(vault_.journal().commit_up_to(*item.failed_start));
  item.failed_start.reset();
  Result<JobInfo> job =
      asked ? vault_.begin_asked_job(JobKind::backup, item.name) : vault_.begin_job(JobKind::backup, item.name);
  if (!job.ok()) {
    item.failed_start = vault_.journal().last_appended();
    return std::move(job).error();
  }
  // Not before: an item of which nothing came is none.
  if (Status registered = vault_.register_item(item.name); !registered.ok()) {
    return end_failed(*std::move(job), std::move(registered).error());
  }
  item.running = Running{*std::move(job), vault_.segments().stored_bytes(), now_nanos()};
  item.closed_since_nanos.reset();
  item.covered.store(true, std::memory_order_release);
  return ok_status();
}

void ItemJobs::end_failed_job(Item& item) {
  std::optional<Error> failure;
  {
    const MutexLock lock(item.failure_mutex);
    failure = std::exchange(item.failure, std::nullopt);
  }
  if (!failure) return;
  // If the journal is the thing that failed, neither can be stored: then the next opening finds the job in progress,
  // calls it Interrupted and marks the item.
  static_cast<void>(publisher_.mark_interrupted(item.name, true));
  if (item.running) {
    static_cast<void>(end_failed(item.running->job, *failure));
    item.running.reset();
  }
  item.covered.store(false, std::memory_order_release);
  item.accounted = next_lsn();
  item.left_without_point = std::move(failure);
}

void ItemJobs::record_refused(const std::string& name, const Error& error) {
  JobInfo refused;
  refused.kind = JobKind::backup;
  refused.item = name;
  refused.state = error.code == ErrorCode::Interrupted ? JobState::cancelled : JobState::failed;
  refused.detail = describe(error);
  vault_.record_attempt(std::move(refused));
}

std::string ItemJobs::reason(Cause cause) const {
  switch (cause) {
    case Cause::settled:
      return "automatic, nothing was open for writing for " + std::to_string(options_.settle_seconds) + " s";
    case Cause::too_old:
      return "automatic, the job lasted longer than " + std::to_string(options_.max_job_seconds) + " s";
    case Cause::closing:
      return "automatic, the vault is being closed";
    case Cause::none:
    case Cause::asked:
      break;
  }
  return "asked for";
}

void ItemJobs::tell_end(const CommitOutcome& outcome, const std::string& why) {
  const std::string job = "job " + std::to_string(outcome.job.number.value);
  vault_.tell(outcome.point ? "recovery point " + outcome.point->id() + " of " + job + ": " + why
                            : job + " completed without a recovery point, nothing had changed: " + why);
}

Error ItemJobs::end_failed(JobInfo job, Error error) {
  job.state = error.code == ErrorCode::Interrupted ? JobState::cancelled : JobState::failed;
  job.ended = vault_.env().clock().now();
  job.detail = describe(error);
  const std::string number = std::to_string(job.number.value);
  // The reason by its name only: a message may tell a name from inside the vault.
  vault_.tell("job " + number + (job.state == JobState::cancelled ? " was cancelled: " : " failed: ") +
              std::string(error_name(error.code)) + "; see: vaultctl job show VAULT " + number);
  const Status ended = vault_.finish_job(std::move(job), std::nullopt);
  if (!ended.ok()) error.message += " (and the job's end could not be recorded: " + ended.error().message + ")";
  return error;
}

Error ItemJobs::end_harmless(JobInfo job, Error error) {
  const std::string name = job.item;
  const bool interrupted = publisher_.interrupted(name);
  Error result = end_failed(std::move(job), std::move(error));
  static_cast<void>(publisher_.mark_interrupted(name, interrupted));
  return result;
}

Result<CommitOutcome> ItemJobs::commit(const std::string& name) {
  if (std::ranges::count(tree_.item_names(), name) == 0) {
    Error error = no_such_item(name);
    record_refused(name, error);
    return error;
  }
  Item& item = item_of(name);
  if (!item.covered.load(std::memory_order_acquire)) refresher_.refresh_before_job();
  return commit_item(item, Cause::asked);
}

Result<CommitOutcome> ItemJobs::commit_item(Item& item, Cause cause) {
  if (cause != Cause::asked) {
    const MutexLock lock(item.mutex);
    end_failed_job(item);
    if (!item.running) return CommitOutcome{};
  }
  if (options_.before_cut) options_.before_cut();
  // From the cut to the manifest, what the point refers to may be referred to by nothing else.
  const ReaderLock references(vault_.segments().long_uses());
  const MutexLock committing(item.committing);
  {
    const MutexLock lock(item.mutex);
    end_failed_job(item);
    if (!item.running) {
      if (cause != Cause::asked) return CommitOutcome{};
      VAULTFS_RETURN_IF_ERROR(begin_running(item, true));
    }
  }
  return cut(item, cause, std::nullopt, {});
}

Result<CommitOutcome> ItemJobs::run_backup(const std::string& name, const JobStep& read, const JobStep& apply,
                                           const Sources& sources) {
  refresher_.refresh_before_job();
  VAULTFS_ASSIGN_OR_RETURN(JobInfo job, vault_.begin_asked_job(JobKind::backup, name));
  Item& item = item_of(name);
  Status gathered = read(job);
  // Not before: an item of which nothing was read is none.
  if (gathered.ok()) gathered = vault_.register_item(name);
  if (!gathered.ok()) return end_harmless(job, std::move(gathered).error());

  const MutexLock committing(item.committing);
  {
    const MutexLock lock(item.mutex);
    end_failed_job(item);
    item.covered.store(true, std::memory_order_release);  // changes from here on are this job's until its cut
  }
  Status applied = apply(job);
  if (!applied.ok()) {
    const MutexLock lock(item.mutex);
    item.covered.store(item.running.has_value(), std::memory_order_release);
    return end_harmless(job, std::move(applied).error());
  }
  return cut(item, Cause::asked, job, sources);
}

std::optional<ItemJobs::Running> ItemJobs::take_running(Item& item, Lsn accounted) {
  const MutexLock lock(item.mutex);
  item.accounted = accounted;
  item.covered.store(false, std::memory_order_release);
  item.closed_since_nanos.reset();
  item.retry_at_nanos = 0;
  item.left_without_point.reset();
  return std::exchange(item.running, std::nullopt);
}

Result<CommitOutcome> ItemJobs::cut(Item& item, Cause cause, std::optional<JobInfo> own, const Sources& sources) {
  const std::vector<PointInfo> points = vault_.catalogue().points_of(item.name);
  const Lsn before = next_lsn();
  if (!tree_.changed_since(item.name, points.empty() ? Lsn{} : points.back().cut)) {
    return end_without_change(item, cause, std::move(own), before);
  }
  Result<TreeSnapshot> snapshot = tree_.snapshot(item.name);
  if (!snapshot.ok()) return fail_cut(item, std::move(own), std::move(snapshot).error());

  Lsn previous;
  {
    const MutexLock lock(item.mutex);
    previous = item.accounted;
  }
  std::optional<Running> running = take_running(item, snapshot->cut);
  if (!own && !running) return failed_meanwhile();
  // Writers went on while the cut's data was stored: what they did belongs to a new job.
  if (tree_.changed_since(item.name, snapshot->cut)) static_cast<void>(start_job(item));

  JobInfo job = own ? *own : running->job;
  job.state = sources.in_doubt ? JobState::completed_with_warnings : JobState::completed;
  snapshot->open_for_writing = snapshot->open_for_writing || sources.crash_consistent || sources.in_doubt;
  job.ended = vault_.env().clock().now();
  if (!own) {
    job.logical_bytes = snapshot->logical_bytes;
    job.stored_bytes =
        vault_.segments().stored_bytes() - std::min(vault_.segments().stored_bytes(), running->stored_at_begin);
  }
  Result<CommitOutcome> outcome = publisher_.publish(std::move(*snapshot), job, cause != Cause::asked);
  if (!outcome.ok()) {
    if (own && running) static_cast<void>(end_failed(running->job, outcome.error()));
    const MutexLock lock(item.mutex);
    item.accounted = previous;
    item.retry_at_nanos = now_nanos() + kRetryNanos;
    return end_failed(job, std::move(outcome).error());
  }
  tell_end(*outcome, own ? "backup run" : reason(cause));
  if (own && running) end_joined(*running, outcome->job);
  return outcome;
}

Error ItemJobs::fail_cut(Item& item, std::optional<JobInfo> own, Error error) {
  const MutexLock lock(item.mutex);
  bool lost = false;
  {
    const MutexLock failure_lock(item.failure_mutex);
    lost = item.failure.has_value();
  }
  if (lost) {
    end_failed_job(item);  // ends the running job, too
  } else if (!own && item.running) {
    own = item.running->job;
    item.running.reset();
  } else {
    return own ? end_failed(*own, std::move(error)) : std::move(error);
  }
  item.covered.store(item.running.has_value(), std::memory_order_release);
  item.closed_since_nanos.reset();
  item.retry_at_nanos = now_nanos() + kRetryNanos;
  return own ? end_failed(*own, std::move(error)) : std::move(error);
}

Result<CommitOutcome> ItemJobs::end_without_change(Item& item, Cause cause, std::optional<JobInfo> own, Lsn accounted) {
  const std::optional<Running> running = take_running(item, accounted);
  if (!own && !running) return failed_meanwhile();
  std::optional<PointNumber> turn_explicit;
  if (cause == Cause::asked) {
    const std::vector<PointInfo> points = vault_.catalogue().points_of(item.name);
    if (!points.empty() && points.back().automatic) turn_explicit = points.back().number;
  }
  VAULTFS_ASSIGN_OR_RETURN(CommitOutcome outcome,
                           publisher_.finish_unchanged(own ? *own : running->job, turn_explicit));
  tell_end(outcome, own ? "backup run" : reason(cause));
  if (own && running) end_joined(*running, outcome.job);
  // Not stored, the mark only makes the next automatic point look worse than it is.
  if (cause == Cause::asked) static_cast<void>(publisher_.mark_interrupted(item.name, false));
  return outcome;
}

void ItemJobs::end_joined(const Running& joined, const JobInfo& by) {
  JobInfo job = joined.job;
  job.detail = "its work is part of job " + std::to_string(by.number.value);
  // Not recorded, it would be called Interrupted at the next opening: a nuisance, no loss.
  static_cast<void>(publisher_.finish_unchanged(std::move(job), std::nullopt));
}

}  // namespace vaultfs
