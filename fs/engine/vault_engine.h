#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/heap_trim.h"
#include "base/result.h"
#include "base/thread/background_timers.h"
#include "base/thread/mutex.h"
#include "fs/backup/backup_request.h"
#include "fs/backup/item_jobs.h"
#include "fs/content/progress_meter.h"
#include "fs/engine/engine_observer.h"
#include "fs/tree/working_tree.h"
#include "fs/upkeep/compactor.h"
#include "fs/upkeep/key_refresher.h"
#include "fs/upkeep/reencrypt_request.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// An opened vault at work: working tree, jobs and cuts by the rules, background flush, refresh of keys, checkpoint.
// Owner or read-only. Thread-safe.
class VaultEngine {
 public:
  struct Options {
    VaultOpenOptions vault;
    WorkingTree::Options tree;
    bool background = true;  // timers: settle, max-job, refresh, flush. Off for short commands.
    unsigned settle_seconds = 10;
    unsigned max_job_seconds = 24 * 3600;
    bool manual_commit = false;                             // -o commit=manual
    std::uint64_t checkpoint_journal_bytes = 256ULL << 20;  // a checkpoint is written when the journal has grown so far
    bool space_reserve = true;  // makes it, and makes it again; otherwise only what is there is spent
  };
  [[nodiscard]] static Result<std::unique_ptr<VaultEngine>> open(const Vault::Machine& machine, const Options& options);
  // Neither copied nor moved: its parts know each other.
  VaultEngine(const VaultEngine&) = delete;
  VaultEngine& operator=(const VaultEngine&) = delete;
  ~VaultEngine();

  [[nodiscard]] Vault& vault() { return *vault_; }
  [[nodiscard]] WorkingTree& tree() { return *tree_; }

  // backup commit: cuts now, also with files open. Returns when the work is done, retirement of key versions included.
  // An item without change ends Completed (no change). ItemNotFound.
  [[nodiscard]] Result<CommitOutcome> commit(const std::string& item);
  // backup run: reads the disks straight into the vault (holes skipped by SEEK_DATA, unchanged chunks only hashed,
  // parallel), then commits. Disks not named stay as they are. A failure leaves the job Failed and the item as it was
  // for those disks.
  [[nodiscard]] Result<BackupOutcome> backup(const BackupRequest& request, const ProgressCallback& progress);
  // Brings everything stored under older DEK epochs to the newest one, while everything else goes on
  // (docs/decisions/0007-reencryption.md). What is damaged stays as it is and is told; then the job has Failed, and the
  // outcome says so. Stopped (Interrupted), failed or crashed, the next call goes on with what is left. VaultBusy: one
  // is under way.
  [[nodiscard]] Result<ReencryptOutcome> reencrypt(const ReencryptRequest& request, const ProgressCallback& progress);
  // Asks long work that nobody waits for (a re-encryption) to end soon: the mount is coming down.
  void stop_long_work() { stopping_.store(true); }
  // encryption refresh, returns when it is done.
  [[nodiscard]] Result<RefreshOutcome> refresh();
  [[nodiscard]] Result<std::shared_ptr<FileTree>> open_point(const PointInfo& point, InodeNumber& root);

  // Who is told of changes; null ends that, and returns when no call is under way. One at a time.
  void observe(EngineObserver* observer);

  // Clean end: commits what the rules say (not interrupted, not manual), flushes, checkpoints, closes the vault. Errors
  // are those of work that could not be kept. After it only destruction is allowed.
  [[nodiscard]] Status close();

 private:
  // Refuses every change: of a vault that was opened read-only.
  class ReadOnlyObserver;

  VaultEngine(Options options, std::unique_ptr<WorkingTree> tree, std::unique_ptr<Vault> vault);
  // Connects tree and vault; as owner: refreshes the keys once, takes stock of the items, starts the timers.
  void start();
  [[nodiscard]] Status require_owner() const;
  void start_timers();
  // Rule 7: seals the vault when a grace or TTL is over, unseals it when access is back.
  void enforce_deadlines();
  void drop_ciphers();
  // A line for the log when access to the key was lost or came back.
  void tell_access();
  void tell_observer(const std::function<void(EngineObserver&)>& what);
  // After a backup run, failed or not.
  void tell_names_changed(const BackupRequest& request);
  void checkpoint_if_long();
  void remember_damage();
  void compact(Compactor::Occasion occasion);
  void fill_reserve();
  // After work that ended for want of space: what it stored goes. The error with what came of that.
  [[nodiscard]] Error give_back(Error error);

  const Options options_;
  // Destroyed in reverse order, so whoever uses something comes after it. The tree calls the jobs until it is stopped,
  // which the destructor does first.
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<WorkingTree> tree_;
  std::unique_ptr<ChangeObserver> read_only_observer_;
  std::unique_ptr<KeyRefresher> refresher_;  // owner, and a reader with background work
  RefreshOutcome opening_refresh_;           // of a command's own opening, not told yet
  std::unique_ptr<Compactor> compactor_;     // owner
  std::unique_ptr<ItemJobs> jobs_;           // owner
  std::atomic<bool> vault_sealed_{false};
  std::atomic<bool> compaction_failed_{false};  // and that was told
  std::atomic<bool> stopping_{false};
  Mutex reencrypting_;         // held while one is under way; taken before any other lock
  HeapTrim heap_trim_;         // its timer only
  Status last_sync_;           // what the last sync before the keys went has come to
  unsigned sealed_looks_ = 0;  // enforce_deadlines() only, as the next
  KeyAccess told_access_ = KeyAccess::available;
  bool closed_ = false;
  Mutex observer_mutex_;  // held while it is called; taken before any other lock
  EngineObserver* observer_ GUARDED_BY(observer_mutex_) = nullptr;
  std::vector<std::unique_ptr<PeriodicTask>> timers_;
};

}  // namespace vaultfs
