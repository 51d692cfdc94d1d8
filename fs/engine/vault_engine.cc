#include "fs/engine/vault_engine.h"

#include <chrono>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/stop_request.h"
#include "crypto/memory/plaintext_memory.h"
#include "fs/backup/backup_run.h"
#include "fs/points/recovery_point_tree.h"
#include "fs/upkeep/reencryption.h"

namespace vaultfs {
namespace {

constexpr std::chrono::milliseconds kJobsLook{500};
constexpr std::chrono::milliseconds kMemoryLook{10'000};
constexpr std::chrono::milliseconds kDeadlinesLook{1000};
constexpr std::chrono::milliseconds kCheckpointLook{1000};
constexpr std::chrono::milliseconds kCompactionLook{3000};

}  // namespace

class VaultEngine::ReadOnlyObserver final : public ChangeObserver {
 public:
  [[nodiscard]] Status before_change(const std::string&) override {
    return Error{ErrorCode::ReadOnly, "the vault was opened read-only"};
  }
  void write_failed(const std::string&, const Error&) override {}
};

Result<std::unique_ptr<VaultEngine>> VaultEngine::open(const Vault::Machine& machine, const Options& options) {
  std::unique_ptr<WorkingTree> tree = WorkingTree::create(options.tree);
  VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<Vault> vault, Vault::open(machine, options.vault, *tree));
  std::unique_ptr<VaultEngine> engine(new VaultEngine(options, std::move(tree), std::move(vault)));
  engine->start();
  return engine;
}

VaultEngine::VaultEngine(Options options, std::unique_ptr<WorkingTree> tree, std::unique_ptr<Vault> vault)
    : options_(std::move(options)), vault_(std::move(vault)), tree_(std::move(tree)) {}

VaultEngine::~VaultEngine() {
  timers_.clear();
  // Without close() the engine ends as if the process had: what is not synced by now may be lost.
  static_cast<void>(tree_->stop());
}

void VaultEngine::start() {
  if (options_.background)
    timers_.push_back(std::make_unique<PeriodicTask>(kMemoryLook, [this] { heap_trim_.look(); }));
  if (vault_->read_only()) {
    read_only_observer_ = std::make_unique<ReadOnlyObserver>();
    tree_->start(*vault_, *read_only_observer_);
    // A revocation takes effect on readers too.
    if (options_.background) {
      refresher_ = std::make_unique<KeyRefresher>(vault_->custody(), vault_->env().clock(), true);
      timers_.push_back(std::make_unique<PeriodicTask>(kDeadlinesLook, [this] { enforce_deadlines(); }));
    }
    return;
  }
  refresher_ = std::make_unique<KeyRefresher>(vault_->custody(), vault_->env().clock(), options_.background);
  fill_reserve();
  compactor_ = std::make_unique<Compactor>(*vault_, *tree_);
  jobs_ = std::make_unique<ItemJobs>(
      *vault_, *tree_, *refresher_,
      ItemJobs::Options{.settle_seconds = options_.settle_seconds,
                        .max_job_seconds = options_.max_job_seconds,
                        .manual_commit = options_.manual_commit,
                        .before_cut = [this] { compact(Compactor::Occasion::before_commit); }});
  tree_->start(*vault_, *jobs_);
  jobs_->take_stock();
  if (options_.background) {
    refresher_->refresh_before_job();
    start_timers();
  } else if (auto refreshed = refresher_->refresh_within(KeyRefresher::kBound); refreshed.ok()) {
    // Whoever opened it for one command means this by what the command's refresh has done.
    opening_refresh_ = std::move(refreshed).value();
  }
}

void VaultEngine::start_timers() {
  timers_.push_back(std::make_unique<PeriodicTask>(kDeadlinesLook, [this] { enforce_deadlines(); }));
  timers_.push_back(std::make_unique<PeriodicTask>(kJobsLook, [this] {
    if (!vault_sealed_.load()) jobs_->commit_due();
  }));
  timers_.push_back(std::make_unique<PeriodicTask>(kCheckpointLook, [this] {
    if (vault_sealed_.load()) return;
    remember_damage();
    checkpoint_if_long();
  }));
  timers_.push_back(std::make_unique<PeriodicTask>(kCompactionLook, [this] {
    if (!vault_sealed_.load()) compact(Compactor::Occasion::idle);
    fill_reserve();
  }));
}

void VaultEngine::tell_access() {
  const EncryptionStatus status = vault_->custody().status();
  if (status.access == told_access_) return;
  const KeyAccess before = std::exchange(told_access_, status.access);
  const std::string reason =
      status.problem ? std::string(error_name(status.problem->code)) + ": " + status.problem->message : "unknown";
  const auto seconds = [](std::uint32_t count) { return std::to_string(count) + " s"; };
  switch (status.access) {
    case KeyAccess::denied:
      vault_->tell("revocation: access to the key is refused: " + reason);
      vault_->tell("grace: the vault works on for " + seconds(status.settings.revocation_grace_seconds) +
                   ", then it is sealed");
      return;
    case KeyAccess::unreachable:
      return vault_->tell("outage: the vault works on for " + seconds(status.settings.outage_ttl_seconds) +
                          ", then it is sealed: " + reason);
    case KeyAccess::sealed:
      return vault_->tell("sealed: the keys are wiped, nothing can be read or written: " + reason);
    case KeyAccess::available:
      return vault_->tell(before == KeyAccess::sealed ? "healed: access to the key is back, the vault is open again"
                                                      : "access to the key is back, the grace is over");
  }
}

void VaultEngine::enforce_deadlines() {
  tell_access();
  const bool sealed = vault_->custody().enforce_deadlines([this] {
    vault_sealed_.store(true);
    // What could not be synced is a sticky error of its writers, and of who unmounts; the keys go in any case.
    if (!vault_->read_only()) last_sync_ = tree_->sync_all();
    tree_->vault_sealed();
  });
  if (sealed) {
    drop_ciphers();
    wipe_plaintext_memory();
    vault_sealed_.store(true);
    // Not once only: a read that was under way may have left its answer with the kernel.
    constexpr unsigned kTimesTold = 3;
    if (sealed_looks_ < kTimesTold) tell_observer([](EngineObserver& observer) { observer.sealed(); });
    ++sealed_looks_;
  } else if (vault_sealed_.exchange(false)) {
    // The journal goes on in a new file. A failure is the journal's to tell whoever needs it.
    if (!vault_->read_only()) static_cast<void>(vault_->journal().commit());
    tree_->vault_unsealed();
    sealed_looks_ = 0;
  }
  tell_access();
}

// What was derived from keys that are gone now. Called again and again while the vault is sealed: work that was under
// way when the keys went may have left a cipher behind.
void VaultEngine::drop_ciphers() {
  if (!vault_->read_only()) vault_->journal().drop_cipher();
  vault_->activity().roll();
  vault_->segments().drop_ciphers();
}

void VaultEngine::checkpoint_if_long() {
  const Journal& journal = vault_->journal();
  if (journal.file_bytes() + journal.buffered_bytes() < options_.checkpoint_journal_bytes) return;
  const ReaderLock references(vault_->segments().long_uses());
  // A failure leaves the journal as it is; the next look tries again.
  static_cast<void>(tree_->checkpoint());
}

void VaultEngine::remember_damage() {
  // What could not be stored is a failure of the journal, which tells those who need it.
  static_cast<void>(vault_->remember_damage());
}

void VaultEngine::compact(Compactor::Occasion occasion) {
  // A failure loses nothing; the next look tries again.
  const Status status = compactor_->compact_if_due(occasion);
  // Said once, not at each look: what stands in the way (damage, a full disk) tends to stay.
  const bool told = compaction_failed_.exchange(!status.ok());
  if (!status.ok() && !told) vault_->warn("removing what nobody needs", status.error());
}

void VaultEngine::fill_reserve() {
  if (options_.space_reserve) vault_->fill_reserve();
}

Status VaultEngine::require_owner() const {
  if (!vault_->read_only()) return ok_status();
  return Error{ErrorCode::ReadOnly, "the vault was opened read-only"};
}

Result<CommitOutcome> VaultEngine::commit(const std::string& item) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  return jobs_->commit(item);
}

Result<BackupOutcome> VaultEngine::backup(const BackupRequest& request, const ProgressCallback& progress) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  // What an earlier owner left on a disk that is nearly full makes room, too.
  compact(Compactor::Occasion::before_backup);
  auto outcome = run_backup(*vault_, *tree_, *jobs_, request, progress);
  tell_names_changed(request);
  if (!outcome.ok() && outcome.code() == ErrorCode::NoSpace) return give_back(std::move(outcome).error());
  return outcome;
}

Error VaultEngine::give_back(Error error) {
  const auto done = compactor_->give_back();
  fill_reserve();
  if (!done.ok()) {
    error.message += " (what was stored could not be given back: " + done.error().message + ")";
  } else if (!*done) {
    error.message += " (what was stored is given back when other work on the vault has ended)";
  } else {
    error.message += " (what was stored has been given back)";
  }
  return error;
}

Result<ReencryptOutcome> VaultEngine::reencrypt(const ReencryptRequest& request, const ProgressCallback& progress) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  if (!reencrypting_.try_lock()) {
    return Error{ErrorCode::VaultBusy, "a re-encryption of this vault is under way; see: vaultctl job list"};
  }
  const MutexLock one_at_a_time(reencrypting_, kAdoptLock);
  const ProgressCallback go_on = [&](const Progress& now) {
    return !stopping_.load() && (progress == nullptr || progress(now));
  };
  return Reencryption(*vault_, *tree_, *compactor_, request, go_on, stopping_).run();
}

void VaultEngine::observe(EngineObserver* observer) {
  const MutexLock lock(observer_mutex_);
  observer_ = observer;
}

void VaultEngine::tell_observer(const std::function<void(EngineObserver&)>& what) {
  const MutexLock lock(observer_mutex_);
  if (observer_ != nullptr) what(*observer_);
}

void VaultEngine::tell_names_changed(const BackupRequest& request) {
  const auto directory = tree_->lookup(kRootInode, request.item);
  if (!directory.ok()) return;
  std::vector<std::string> disks;
  disks.reserve(request.disks.size());
  for (const DiskSource& disk : request.disks) disks.push_back(disk.name);
  tell_observer([&](EngineObserver& observer) {
    observer.names_changed(kRootInode, {request.item});
    observer.names_changed(directory->number, disks);
  });
}

Result<RefreshOutcome> VaultEngine::refresh() {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  VAULTFS_ASSIGN_OR_RETURN(RefreshOutcome outcome, refresher_->refresh());
  RefreshOutcome before = std::exchange(opening_refresh_, {});
  outcome.version_changed = outcome.version_changed || before.version_changed;
  outcome.retired.insert(outcome.retired.begin(), before.retired.begin(), before.retired.end());
  return outcome;
}

Result<std::shared_ptr<FileTree>> VaultEngine::open_point(const PointInfo& point, InodeNumber& root) {
  VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<FileTree> tree, open_point_tree(*vault_, point, root));
  return std::shared_ptr<FileTree>(std::move(tree));
}

Status VaultEngine::close() {
  timers_.clear();
  if (std::exchange(closed_, true)) return ok_status();
  if (vault_->read_only()) return tree_->stop();
  // Sealed: what was acknowledged has been synced before the keys went, and without them nothing more can be written,
  // nor a point made. Jobs in progress are called Interrupted at the next opening.
  if (vault_sealed_.load()) {
    static_cast<void>(tree_->stop());
    return last_sync_.ok()
               ? jobs_->close_sealed()
               : Status(with_context(last_sync_.error(), "not all could be synced before the vault was sealed"));
  }
  const SpaceReserve::ContentUse use(vault_->space_reserve());
  Status result = jobs_->close();
  // A vault that is never mounted for long has no other time for it.
  if (!stop_requested()) compact(Compactor::Occasion::closing);
  const auto keep_first = [&result](Status status) {
    if (result.ok()) result = std::move(status);
  };
  keep_first(tree_->sync_all());
  remember_damage();
  static_cast<void>(vault_->record_healed(nullptr));  // what is not recorded now is at the next opening's first job
  keep_first(tree_->checkpoint());
  keep_first(tree_->stop());
  keep_first(vault_->close());
  return result;
}

}  // namespace vaultfs
