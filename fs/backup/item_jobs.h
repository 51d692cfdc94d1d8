#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/backup/backup_request.h"
#include "fs/backup/item_commit.h"
#include "fs/tree/working_tree.h"
#include "fs/upkeep/key_refresher.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// The backup jobs of all items (architecture, "Namespace, jobs, points"), one state machine per item:
//
//   idle ──first change──▶ running ──settle, max-job, commit(), close()──▶ cut ──▶ Completed (or no change), idle or
//   next job
//                             └──write failure──▶ Failed, the item is marked interrupted, idle
//
// Changes that no job covers (made while a cut was being taken, or left by a job whose commit failed) are adopted by
// commit_due(). Work that was there when the vault was opened is not: it waits for the next change or commit().
//
// Lock order: docs/locks.md. SegmentStore::long_uses() is held shared by who calls run_backup, and taken by a commit.
// The tree is called with at most `committing` held, so it may call back into before_change(). Thread-safe.
class ItemJobs final : public ChangeObserver {
 public:
  struct Options {
    unsigned settle_seconds = 10;
    unsigned max_job_seconds = 24 * 3600;
    bool manual_commit = false;
    std::function<void()> before_cut = {};  // called before a point is cut, without locks that a checkpoint takes
  };
  // All must outlive it. REQUIRES: the owner's vault.
  ItemJobs(Vault& vault, WorkingTree& tree, KeyRefresher& refresher, Options options);
  ItemJobs(const ItemJobs&) = delete;
  ItemJobs& operator=(const ItemJobs&) = delete;
  ~ItemJobs() override;

  // Takes what the items hold now as work that waits for commit(). To be called once, after WorkingTree::start.
  void take_stock();

  // ChangeObserver. Cheap while a job runs: one shared lookup and one clock reading.
  [[nodiscard]] Status before_change(const std::string& name) override;
  void write_failed(const std::string& name, const Error& error) override;

  // Cuts now, as asked for by a person. ItemNotFound, and whatever kept the work from being committed.
  [[nodiscard]] Result<CommitOutcome> commit(const std::string& name);

  // A job of its own for `backup run`: `read` gathers (other commits of the item may happen meanwhile), `apply` changes
  // the working tree in one go, then the item is committed. A failure ends the job as Failed with its reason.
  // REQUIRES: the caller holds SegmentStore::long_uses() shared from before the first chunk that `read` stores.
  using JobStep = std::function<Status(JobInfo& job)>;
  // What `read` and `apply` find out of the sources. `crash_consistent`: others were writing to them; `in_doubt`: what
  // was read is no state that a disk ever had, or not all of it.
  struct Sources {
    bool crash_consistent = false;
    bool in_doubt = false;
  };
  [[nodiscard]] Result<CommitOutcome> run_backup(const std::string& name, const JobStep& read, const JobStep& apply,
                                                 const Sources& sources);

  // A backup that was asked for and refused before it began is a failed job too.
  void record_refused(const std::string& name, const Error& error);

  // Ends jobs that failed, adopts changes that no job covers, commits what is settled or older than max-job. Errors end
  // the job as Failed; the work is tried again after a quarter of an hour or at the next change.
  void commit_due();

  // The end of the engine: commits every running job, except with manual_commit. The first error; all are tried.
  [[nodiscard]] Status close();

  // The end of a engine whose keys are gone: nothing can be committed. KeyRevoked, which tells of the work that no
  // recovery point has; with manual_commit that is as it was asked for. The next opening ends the jobs.
  [[nodiscard]] Status close_sealed();

 private:
  struct Running {
    JobInfo job;
    std::uint64_t stored_at_begin = 0;
    std::int64_t begun_nanos = 0;  // monotonic
  };
  struct Item {
    Item(std::string item_name, Lsn accounted_to) : name(std::move(item_name)), accounted(accounted_to) {}
    const std::string name;
    // Commits of one item come one after the other. Held during a whole commit, a bounded wait for the key vault
    // included.
    Mutex committing;
    // True while changes need nothing more: a job runs, or a commit is applying its own.
    std::atomic<bool> covered{false};
    std::atomic<std::int64_t> last_change_nanos{0};  // monotonic
    Mutex mutex;  // held across the journal's commit of a job's start, so that it comes
                  // before the change
    std::optional<Running> running GUARDED_BY(mutex);
    Lsn accounted GUARDED_BY(mutex);  // changes before it belong to a cut, or wait for commit()
    std::optional<std::int64_t> closed_since_nanos GUARDED_BY(mutex);  // since when no file was seen open for writing
    std::int64_t retry_at_nanos GUARDED_BY(mutex) = 0;                 // no adoption before, after a failed commit
    std::optional<Lsn> failed_start
        GUARDED_BY(mutex);  // a job could not begin, and the journal has that only up to before
    std::optional<Error> left_without_point GUARDED_BY(mutex);  // why the newest job that lost something made none
    Mutex failure_mutex;  // a leaf, because write_failed may be called under the tree's locks
    std::optional<Error> failure GUARDED_BY(failure_mutex);
  };
  // Why a point is cut.
  enum class Cause : std::uint8_t { none, asked, settled, too_old, closing };

  [[nodiscard]] Item& item_of(const std::string& name);
  [[nodiscard]] Lsn next_lsn() { return vault_.journal().last_appended().next(); }
  [[nodiscard]] std::int64_t now_nanos() const { return vault_.env().clock().monotonic_nanos(); }

  [[nodiscard]] Status start_job(Item& item);
  // REQUIRES: nothing running.
  [[nodiscard]] Status begin_running(Item& item, bool asked) REQUIRES(item.mutex);
  void end_failed_job(Item& item) REQUIRES(item.mutex);
  [[nodiscard]] Cause due(Item& item, std::int64_t now);  // none: not yet
  [[nodiscard]] Result<CommitOutcome> commit_item(Item& item, Cause cause);
  // `own` is the job of a backup run; without it the running one is committed.
  [[nodiscard]] Result<CommitOutcome> cut(Item& item, Cause cause, std::optional<JobInfo> own, const Sources& sources)
      REQUIRES(item.committing);
  [[nodiscard]] Result<CommitOutcome> end_without_change(Item& item, Cause cause, std::optional<JobInfo> own,
                                                         Lsn accounted);
  [[nodiscard]] static std::optional<Running> take_running(Item& item, Lsn accounted);
  // The cut could not be taken: ends the job; the work stays in the working tree.
  Error fail_cut(Item& item, std::optional<JobInfo> own, Error error);
  // A job whose work another job's cut has taken along.
  void end_joined(const Running& joined, const JobInfo& by);
  // A line for the log: the point that a job left, or that there was no need of one.
  void tell_end(const CommitOutcome& outcome, const std::string& why);
  [[nodiscard]] std::string reason(Cause cause) const;
  // Records the job's failure, which marks the item as interrupted, and gives the error back.
  Error end_failed(JobInfo job, Error error);
  // The same for a job that has left the item as it was: the mark stays as it was, too.
  Error end_harmless(JobInfo job, Error error);
  // Ends a running job without a point; what it did stays in the working tree.
  void end_uncommitted(Item& item, const std::string& why);
  [[nodiscard]] Status close_item(Item& item);

  Vault& vault_;
  WorkingTree& tree_;
  KeyRefresher& refresher_;
  const Options options_;
  ItemCommit publisher_;
  mutable SharedMutex items_mutex_;  // the map, not the items, which live as long as this object
  std::map<std::string, std::unique_ptr<Item>> items_ GUARDED_BY(items_mutex_);
};

}  // namespace vaultfs
