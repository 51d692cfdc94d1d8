#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "fs/backup/item_jobs.h"

// When jobs end by themselves: settled, too old, failed, at the end of the engine.

namespace vaultfs {
namespace {

constexpr const char* kRemoved = "the item's directory was removed; its recovery points stay";

}  // namespace

void ItemJobs::commit_due() {
  take_stock();
  std::vector<Item*> items;
  {
    const ReaderLock lock(items_mutex_);
    for (const auto& [name, item] : items_) items.push_back(item.get());
  }
  const std::vector<std::string> present = tree_.item_names();
  const std::int64_t now = now_nanos();
  for (Item* item : items) {
    if (!std::ranges::count(present, item->name)) {
      // Its job may have begun a moment ago, for the mkdir that is about to make it.
      const std::int64_t quiet = now - item->last_change_nanos.load(std::memory_order_relaxed);
      if (quiet >= options_.settle_seconds * kNanosPerSecond) end_uncommitted(*item, kRemoved);
      continue;
    }
    // An error has ended the job as Failed, where people look for it; there is nobody else to tell.
    const Cause cause = due(*item, now);
    if (cause != Cause::none) static_cast<void>(commit_item(*item, cause));
  }
}

ItemJobs::Cause ItemJobs::due(Item& item, std::int64_t now) {
  Lsn accounted;
  bool covered = false;
  {
    const MutexLock lock(item.mutex);
    end_failed_job(item);
    accounted = item.accounted;
    covered = item.covered.load(std::memory_order_acquire) || now < item.retry_at_nanos;
  }
  if (!covered && tree_.changed_since(item.name, accounted)) static_cast<void>(start_job(item));
  if (options_.manual_commit) return Cause::none;
  const bool open = tree_.open_for_writing(item.name);
  const MutexLock lock(item.mutex);
  if (!item.running) return Cause::none;
  if (now - item.running->begun_nanos >= options_.max_job_seconds * kNanosPerSecond) return Cause::too_old;
  if (open) {
    item.closed_since_nanos.reset();
    return Cause::none;
  }
  if (!item.closed_since_nanos) item.closed_since_nanos = now;
  const std::int64_t quiet_since =
      std::max(*item.closed_since_nanos, item.last_change_nanos.load(std::memory_order_relaxed));
  return now - quiet_since >= options_.settle_seconds * kNanosPerSecond ? Cause::settled : Cause::none;
}

void ItemJobs::end_uncommitted(Item& item, const std::string& why) {
  const MutexLock committing(item.committing);
  const MutexLock lock(item.mutex);
  end_failed_job(item);
  if (!item.running) return;
  JobInfo job = std::exchange(item.running, std::nullopt)->job;
  item.covered.store(false, std::memory_order_release);
  // Not Completed: nothing was backed up, so it must not count for the rotation rule.
  job.state = JobState::interrupted;
  job.ended = vault_.env().clock().now();
  job.detail = why;
  // Nothing was lost, so what comes next is not marked for it.
  const bool interrupted = publisher_.interrupted(item.name);
  static_cast<void>(vault_.finish_job(std::move(job), std::nullopt));
  static_cast<void>(publisher_.mark_interrupted(item.name, interrupted));
}

Status ItemJobs::close() {
  std::vector<Item*> items;
  {
    const ReaderLock lock(items_mutex_);
    for (const auto& [name, item] : items_) items.push_back(item.get());
  }
  const std::vector<std::string> present = tree_.item_names();
  Status result;
  for (Item* item : items) {
    if (!std::ranges::count(present, item->name)) {
      end_uncommitted(*item, kRemoved);
      continue;
    }
    Status status = close_item(*item);
    if (!status.ok() && result.ok()) result = with_context(std::move(status).error(), "an item could not be committed");
  }
  return result;
}

Status ItemJobs::close_sealed() {
  if (options_.manual_commit) return ok_status();
  std::vector<Item*> items;
  {
    const ReaderLock lock(items_mutex_);
    for (const auto& [name, item] : items_) items.push_back(item.get());
  }
  const std::vector<std::string> present = tree_.item_names();
  std::size_t left = 0;
  std::string jobs;
  for (Item* item : items) {
    if (!std::ranges::count(present, item->name)) continue;
    Lsn accounted;
    bool uncommitted = false;
    {
      const MutexLock lock(item->mutex);
      accounted = item->accounted;
      uncommitted = item->running.has_value() || item->left_without_point.has_value();
      if (item->running) jobs += (jobs.empty() ? "job " : ", ") + std::to_string(item->running->job.number.value);
    }
    left += uncommitted || tree_.changed_since(item->name, accounted) ? 1 : 0;
  }
  if (left == 0) return ok_status();
  return Error{ErrorCode::KeyRevoked,
               "the vault is sealed, so that no recovery point could be made of the last work in " +
                   std::to_string(left) + (left == 1 ? " item" : " items") + (jobs.empty() ? "" : " (" + jobs + ")") +
                   ". What was acknowledged before it was sealed is in the working tree: give access to the key back, "
                   "mount again, and run: vaultctl backup commit"};
}

Status ItemJobs::close_item(Item& item) {
  if (options_.manual_commit) {
    end_uncommitted(item, "unmounted before `backup commit`; the work stays in the working tree");
    return ok_status();
  }
  Lsn accounted;
  bool covered = false;
  std::optional<Error> left;
  {
    const MutexLock lock(item.mutex);
    end_failed_job(item);
    accounted = item.accounted;
    covered = item.covered.load(std::memory_order_acquire);
    left = item.left_without_point;
  }
  const bool adopts = !covered && tree_.changed_since(item.name, accounted);
  // Who unmounts is not to take the last point for one that has this.
  if (left && !covered && !adopts) {
    return Error{ErrorCode::JobFailed, "its last job has failed (" + left->message +
                                           "): what was written stays in the working tree, and no recovery point has "
                                           "it; see vaultctl job list, mount again and run: vaultctl backup commit"};
  }
  if (adopts) VAULTFS_RETURN_IF_ERROR(start_job(item));
  Result<CommitOutcome> outcome = commit_item(item, Cause::closing);
  return outcome.ok() ? ok_status() : Status(std::move(outcome).error());
}

}  // namespace vaultfs
