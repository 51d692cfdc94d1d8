#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/heap_trim.h"
#include "base/thread/background_timers.h"
#include "base/thread/mutex.h"
#include "fs/backup/item_jobs.h"
#include "fs/session/session.h"
#include "fs/upkeep/compactor.h"
#include "fs/upkeep/key_refresher.h"

namespace vaultfs {

// The observer of a read-only vault: nothing may change.
class ReadOnlyObserver final : public ChangeObserver {
 public:
  [[nodiscard]] Status before_change(const std::string& item) override;
  void write_failed(const std::string& item, const Error& error) override;
};

// Session's one implementation. Timers are stopped before anything that they use goes away.
class OpenedSession final : public Session {
 public:
  OpenedSession(Options options, std::unique_ptr<WorkingTree> tree, std::unique_ptr<Vault> vault);
  OpenedSession(const OpenedSession&) = delete;
  OpenedSession& operator=(const OpenedSession&) = delete;
  ~OpenedSession() override;
  // Connects tree and vault; as owner: refreshes the keys once, takes stock of the items, starts the timers.
  void start();

  Vault& vault() override { return *vault_; }
  WorkingTree& tree() override { return *tree_; }
  Result<CommitOutcome> commit(const std::string& item) override;
  Result<BackupOutcome> backup(const BackupRequest& request, const ProgressCallback& progress) override;
  Result<ReencryptOutcome> reencrypt(const ReencryptRequest& request, const ProgressCallback& progress) override;
  void stop_long_work() override { stopping_.store(true); }
  Result<RefreshOutcome> refresh() override;
  Result<std::shared_ptr<FileTree>> open_point(const PointInfo& point, InodeNumber& root) override;
  void observe(SessionObserver* observer) override;
  Status close() override;

 private:
  [[nodiscard]] Status require_owner() const;
  void start_timers();
  // Rule 7: seals the vault when a grace or TTL is over, unseals it when access is back.
  void enforce_deadlines();
  void drop_ciphers();
  // A line for the log when access to the key was lost or came back.
  void tell_access();
  void tell_observer(const std::function<void(SessionObserver&)>& what);
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
  ReadOnlyObserver read_only_observer_;
  std::unique_ptr<KeyRefresher> refresher_;  // owner, and a reader with background work
  RefreshOutcome opening_refresh_;           // of a command's own opening, not told yet
  std::unique_ptr<Compactor> compactor_;     // owner
  std::unique_ptr<ItemJobs> jobs_;           // owner
  std::atomic<bool> sealed_{false};
  std::atomic<bool> compaction_failed_{false};  // and that was told
  std::atomic<bool> stopping_{false};
  Mutex reencrypting_;         // held while one is under way; taken before any other lock
  HeapTrim heap_trim_;         // its timer only
  Status sealing_;             // what the last sync before the keys went has come to
  unsigned sealed_looks_ = 0;  // enforce_deadlines() only, as the next
  KeyAccess told_access_ = KeyAccess::available;
  bool closed_ = false;
  Mutex observer_mutex_;  // held while it is called; taken before any other lock
  SessionObserver* observer_ GUARDED_BY(observer_mutex_) = nullptr;
  std::vector<std::unique_ptr<PeriodicTask>> timers_;
};

}  // namespace vaultfs
