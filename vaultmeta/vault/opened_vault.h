#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread/mutex.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/points/patch_healing.h"
#include "vaultmeta/points/point_segments.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// The parts of a vault as opening puts them together, in the order in which they need each other.
struct VaultParts {
  VaultParts(const Vault::Machine& on, const std::filesystem::path& at)
      : directory(std::make_unique<VaultDirectory>(on.env, at)),
        machine{*directory, on.state, on.platform_keys, on.resolver} {}

  std::unique_ptr<VaultDirectory> directory;
  Vault::Machine machine;       // its Env is the directory
  std::filesystem::path path;   // the directory's place, once it is open
  std::filesystem::path place;  // under which the machine keeps what it knows of the vault: known_place()
  bool read_only = false;
  std::unique_ptr<FileLock> lock;  // owner
  std::unique_ptr<FileLock> hold;  // reader: keeps the owner from removing segments, see kHoldFileName
  VaultHeader header;
  std::unique_ptr<BlobStore> blobs;
  std::unique_ptr<KeyCustody> custody;
  Head::Signed head;  // newest
  Generation oldest_head;
  PackedHeads new_pack;             // that the next head names first
  std::uint64_t restart_above = 0;  // of the pin: an incarnation above it is to be started
  std::unique_ptr<SegmentStore> segments;
  std::unique_ptr<Catalogue> catalogue;
  std::unique_ptr<ActivityLog> activity;
  std::unique_ptr<Journal> journal;    // owner
  Lsn replayed_to;                     // what the catalogue holds of the journals before
  ContainerNumber highest_checkpoint;  // also of own files that are not the head's
  std::vector<std::string> notes;
  std::optional<Error> history_damage;  // what of the newest state could not be read
  std::optional<Error> points_in_doubt;
  std::vector<Damage> passed_over;  // files that are there by their names alone
  bool takes_unproven = false;      // at the reader's own risk
};

// Vault's one implementation. Its parts are thread-safe by themselves; the mutexes below tie them together.
//
// Lock order: checkpoint_mutex_ → (the tree's locks, inside EncodeTree) → change_mutex_ → head_mutex_ → locks of the
// parts; damage_mutex_ → change_mutex_. No lock is held across a call of the key custody that may ask a key vault.
class OpenedVault final : public Vault, private KeyChangeHost {
 public:
  explicit OpenedVault(VaultParts parts);
  OpenedVault(const OpenedVault&) = delete;
  OpenedVault& operator=(const OpenedVault&) = delete;
  ~OpenedVault() override;
  // Owner: lets the custody ask for key changes, and the journal have its files named.
  void attach();

  const std::filesystem::path& path() const override { return parts_.path; }
  const std::filesystem::path& place() const override { return parts_.place; }
  VaultDirectory& directory() override { return *parts_.directory; }
  const VaultHeader& header() const override { return parts_.header; }
  bool read_only() const override { return parts_.read_only; }
  EpochNumber epoch_at_opening() const override { return epoch_at_opening_; }
  Env& env() override { return parts_.machine.env; }
  SpaceReserve* space_reserve() override { return &parts_.directory->reserve(); }
  void fill_reserve() override;
  EpochKeys& keys() override { return parts_.custody->keys(); }
  KeyCustody& custody() override { return *parts_.custody; }
  SegmentStore& segments() override { return *parts_.segments; }
  Journal& journal() override;
  Catalogue& catalogue() override { return *parts_.catalogue; }
  ActivityLog& activity() override { return *parts_.activity; }
  const std::vector<std::string>& opening_notes() const override { return parts_.notes; }
  [[nodiscard]] std::optional<Error> history_damage() const override { return parts_.history_damage; }
  [[nodiscard]] std::optional<Error> points_in_doubt() const override { return parts_.points_in_doubt; }
  [[nodiscard]] std::vector<Damage> passed_over() const override { return parts_.passed_over; }
  std::vector<std::string> take_warnings() override;
  std::vector<std::string> take_news() override;
  void tell(std::string news) override;

  Result<Lsn> log_catalogue(Bytes entry) override;
  Result<JobInfo> begin_job(JobKind kind, const std::string& item) override;
  Result<JobInfo> begin_asked_job(JobKind kind, const std::string& item) override;  // attempts.cc, as the next
  void record_attempt(JobInfo job) override;
  void keep_attempt(const JobInfo& job) override;
  std::vector<JobInfo> kept_jobs() override;
  Status register_item(const std::string& item) override;
  Status finish_job(JobInfo job, std::optional<PointNumber> turn_explicit) override;
  Status publish_point(Manifest manifest, PointInfo point, JobInfo job) override;
  Result<Manifest> load_manifest(const PointInfo& point) override;
  Status set_reencrypting(bool reencrypting) override;  // reencrypt_points.cc, as the next five
  Result<EpochNumber> manifest_epoch(const PointInfo& point) override;
  Status rewrite_point(PointNumber number, PointSegments& segments) override;
  Result<std::vector<Manifest::SegmentNeeded>> inventory_of(const SupersededManifest& old) override;
  Status end_grace() override;
  Status forget_superseded(UnixNanos until) override;
  Status remember_damage() override;  // damage.cc, as the next three
  Result<HealedDamage> record_healed(const Manifest* newest) override;
  Result<std::vector<DamagedRange>> known_damage_of_item(const std::string& item) override;
  Result<ExaminedDamage> examine_damage(const std::set<ContainerNumber>& segments_to_read) override;
  Status checkpoint(const EncodeTree& encode_tree) override;
  void segments_moved() override;
  void warn(const std::string& what, const Error& error) override;
  Status write_head() override;
  Status close() override;

  // Follows the points to what no segment has, if one lists a segment that is gone or has another length.
  [[nodiscard]] Status look_for_missing_segments();
  // The job that a kept attempt is to be; none if the vault has it already.
  [[nodiscard]] std::optional<JobInfo> job_of(const KeptAttempt& attempt);
  // Takes over what this machine keeps of attempts from when the vault could not be opened. Trouble becomes a warning.
  void take_kept_attempts();
  // Jobs that a crash left in progress become Interrupted and mark their items. Returns how many.
  [[nodiscard]] Result<std::size_t> interrupt_unfinished_jobs();
  // Appends to the activity log; a failure becomes a warning, because no work may be lost for it.
  void record_activity(const std::string& operation, const std::string& outcome, const std::string& subject,
                       const std::string& detail);
  // Makes a head name that journal, and all that follow. REQUIRES: owner; nothing in the journal was acknowledged.
  [[nodiscard]] Status announce_journal(const JournalPosition& journal);
  // With `restart_above` not 0 the next owner starts an incarnation above that (Pin::restart_above).
  [[nodiscard]] Status pin_newest_head(std::uint64_t restart_above);

 private:
  // KeyChangeHost
  Lsn next_lsn() override;
  ContainerNumber highest_segment() override;
  Status roll_containers() override;
  UnixNanos newest_time() override;
  JobNumber next_job() override { return parts_.catalogue->take_job_number(); }
  void record_key_change(JobNumber number, const std::string& what, const std::string& version,
                         const Error* failure) override;
  void reserve_job(JobNumber number) override { parts_.catalogue->reserve_job_number(number); }
  void ensure_recorded(const KeyUpdate& update) override;
  void record_setting(const std::string& what, const std::string& subject) override;
  void log_key_update(JobInfo job);

  [[nodiscard]] Status require_owner() const;
  // The catalogue changes when the journal has taken the entry.
  [[nodiscard]] Result<Lsn> append_catalogue(const Bytes& entry) REQUIRES(change_mutex_);
  // After a commit that failed: the entry undoes what the catalogue shows, also where the journal takes nothing more.
  void take_back(const Bytes& entry) REQUIRES(change_mutex_);
  // One line for the log.
  void tell_key_change(const std::string& what, const std::string& version, const Error* failure);
  // The job as begun. `recorded`: it has a job that failed, and nothing more needs to be done about it.
  [[nodiscard]] Result<JobInfo> start_job(JobKind kind, const std::string& item, bool& recorded);
  void record_end(const JobInfo& job);
  // Rules 3(a) and 3(b) after a completed backup. Trouble becomes a warning: the backup itself stands.
  void feed_rotation_rule(const JobInfo& job);
  // With the inventory that the manifest has.
  [[nodiscard]] Result<Bytes> seal_manifest(const Manifest& manifest, PointInfo& point);
  // Stores a manifest's file under a number that this owner has taken: whatever has the name is not of this vault, was
  // put there since, and is set aside.
  [[nodiscard]] Status put_manifest(PointNumber file, ByteView bytes);
  // Gives the manifest its inventory, of closed segments only. True if something of it can't be told.
  [[nodiscard]] Result<bool> close_around(Manifest& manifest);

  // ---- damage ----
  // Both durable on return.
  [[nodiscard]] Status log_damage(const std::vector<KnownDamage>& found);
  [[nodiscard]] Status log_healed(const std::vector<ChunkIndex::Key>& keys);
  [[nodiscard]] Result<std::uint64_t> points_that_need(const std::vector<ChunkIndex::Key>& keys);
  [[nodiscard]] Result<std::vector<DamagedRange>> known_damage_of(const Manifest& manifest);
  [[nodiscard]] Status heal_patches(const Manifest* newest) REQUIRES(damage_mutex_);
  [[nodiscard]] Result<HealedDamage> forget_healed(const Manifest* newest) REQUIRES(damage_mutex_);
  // REQUIRES: long_uses() of the segments.
  [[nodiscard]] Status rewrite_inventories() REQUIRES(damage_mutex_);
  // What points refer to and no segment has; of that, what was not known is added to `found`.
  [[nodiscard]] Status find_what_no_segment_has(std::vector<KnownDamage>& found, std::set<ChunkIndex::Key>& nowhere);

  struct NewCheckpoint {
    ContainerNumber number;
    std::uint64_t bytes = 0;
    Digest digest;
  };
  // The recovery points as the entries up to an LSN make them.
  struct PointsAt {
    Lsn lsn;
    Digest digest;
  };
  [[nodiscard]] PointsAt points_now();
  [[nodiscard]] Status write_head_naming(const std::optional<NewCheckpoint>& checkpoint);
  [[nodiscard]] Status put_next_head(const std::optional<NewCheckpoint>& checkpoint) REQUIRES(head_mutex_);
  [[nodiscard]] Result<Head> next_head(const std::optional<NewCheckpoint>& checkpoint) REQUIRES(head_mutex_);
  [[nodiscard]] Status adopt_own_head(Generation generation) REQUIRES(head_mutex_);
  [[nodiscard]] Status pin_head() REQUIRES(head_mutex_);
  void pack_old_heads() REQUIRES(head_mutex_);
  void tell_new_fingerprint();
  void save_index();
  // Of the vault's own files only.
  void remove_below(const VaultFolder& folder, ContainerKind kind, ContainerNumber keep);
  [[nodiscard]] Result<ContainerNumber> take_checkpoint_number() REQUIRES(checkpoint_mutex_);

  VaultParts parts_;  // set before the vault is shared
  const EpochNumber epoch_at_opening_;
  PointSegments point_segments_;
  Mutex checkpoint_mutex_ ACQUIRED_BEFORE(change_mutex_, head_mutex_);  // one checkpoint at a time
  ContainerNumber next_checkpoint_ GUARDED_BY(checkpoint_mutex_);
  // Makes a catalogue change and its journal entry one step, as seen by a checkpoint's cut.
  Mutex change_mutex_ ACQUIRED_BEFORE(head_mutex_);
  Mutex damage_mutex_ ACQUIRED_BEFORE(change_mutex_);  // one look at what is damaged at a time, to its end
  PatchHealing patch_healing_ GUARDED_BY(damage_mutex_);
  Mutex head_mutex_;                           // held while a head is written and pinned
  Head::Signed head_ GUARDED_BY(head_mutex_);  // newest
  Generation oldest_head_ GUARDED_BY(head_mutex_);
  PackedHeads new_pack_ GUARDED_BY(head_mutex_);  // that the next head names first
  JournalPosition named_journal_
      GUARDED_BY(head_mutex_);               // by the next head; its own position is asked for what of it is durable
  PointsAt points_ GUARDED_BY(head_mutex_);  // durable; for the next head
  std::atomic<std::uint64_t> current_checkpoint_;
  static constexpr std::size_t kMaxNews = 1000;
  Mutex warnings_mutex_;  // a leaf
  std::vector<std::string> warnings_ GUARDED_BY(warnings_mutex_);
  std::vector<std::string> news_ GUARDED_BY(warnings_mutex_);
};

}  // namespace vaultfs
