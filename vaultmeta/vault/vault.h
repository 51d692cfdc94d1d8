#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/journal/journal.h"
#include "store/segment/segment_store.h"
#include "store/segment/segment_verifier.h"
#include "vaultmeta/activity/activity_log.h"
#include "vaultmeta/catalogue/catalogue.h"
#include "vaultmeta/catalogue/known_damage.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/layout/vault_header.h"
#include "vaultmeta/points/manifest.h"
#include "vaultmeta/points/point_segments.h"

namespace vaultfs {

// What the layer above (fs) keeps in checkpoints and journals: the working tree. Called during Vault::open, in this
// order: load() (an empty view for a vault without a checkpoint), then apply() for each journal entry of the owner
// `tree`, in LSN order. A read-only opening that raced with a live owner begins again: load() then replaces everything
// loaded and applied before.
class TreeReplay {
 public:
  virtual ~TreeReplay() = default;
  [[nodiscard]] virtual Status load(ByteView checkpoint_section) = 0;
  [[nodiscard]] virtual Status apply(Lsn lsn, ByteView entry) = 0;
};

struct VaultCreateOptions {
  std::filesystem::path path;
  std::optional<KeyRef> key;  // customer-managed; none: platform-managed
  std::string identity = "system";
  std::string region;
  bool infrastructure_encryption = false;
  std::optional<Bytes> escrow_key;  // DER SubjectPublicKeyInfo, RSA: whose private half opens the vault too
  // Platform-bound keys (no --key, or infrastructure encryption) want one of both, else RecoveryChoiceRequired; unless
  // there is an escrow key, which opens the vault without them.
  std::optional<std::filesystem::path> recovery_file;
  const SecretBuffer* recovery_passphrase = nullptr;
  bool no_recovery = false;
};

struct VaultCreated {
  VaultId id;
  Digest root_fingerprint;
  VaultFingerprint fingerprint;
  std::vector<std::string> warnings;  // e.g. the key vault lies on the same file system as the vault
};

struct VaultOpenOptions {
  std::filesystem::path path;
  bool read_only = false;  // no lock, nothing written, pin not moved; a live or copied vault opens at its newest state
  bool allow_unverified = false;  // read-only without a pin (restore --unverified)
  // Read-only: what a person kept of the vault. FingerprintMismatch if it is no epoch's; how far it speaks for the
  // vault is a note. Without a pin it allows the opening too.
  std::optional<VaultFingerprint> fingerprint = std::nullopt;
  bool accept_older = false;  // read-only: take what is there although the pin is newer
  // Read-only: where working tree and list of jobs can't be read, the recovery points will do (Vault::history_damage).
  bool points_suffice = false;
  bool any_place = false;                            // also where the machine knows other vaults only (`vault trust`)
  std::int64_t lock_wait_seconds = 0;                // for the owner's lock
  Compression compression = Compression::automatic;  // of what is stored from now on
};

// An opened vault: keys, store, journal, catalogue, activity log, head and pin, all replayed to the newest consistent
// state. The owner holds vault.lock until destruction. Thread-safe where its parts are.
class Vault {
 public:
  struct Machine {
    Env& env;
    MachineState& state;
    PlatformKeys& platform_keys;
    KeyVaultResolver& resolver;
  };

  // VaultExists if the directory exists and is not empty. Pins and registers the vault. A failure leaves nothing
  // behind.
  [[nodiscard]] static Result<VaultCreated> create(const Machine& machine, const VaultCreateOptions& options);

  // VaultNotFound, NotAVault, UnsupportedFormat, VaultBusy (naming the owner's process id if vault.lock tells),
  // VaultUnverified (no pin: only read_only with allow_unverified), ForeignRootKey, AnotherVault (unless any_place or
  // allow_unverified), ForeignFile (a link or the like in it), RollbackDetected, PinOutdated (the
  // pin is older than the heads that are kept; `vault trust` moves it), the errors of
  // KeyCustody::open, JournalDamaged and the damage codes of head, keyring and checkpoint. As owner: jobs left
  // InProgress become Interrupted (and their item is marked), unfinished files (`.tmp`, manifests that no catalogue
  // entry names) are removed, a new journal is started.
  [[nodiscard]] static Result<std::unique_ptr<Vault>> open(const Machine& machine, const VaultOpenOptions& options,
                                                           TreeReplay& tree);
  virtual ~Vault() = default;

  // Of the vault's directory, without links; for paths that are given to env().
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
  // Under which path this machine keeps its pin and registration (vault_place.h).
  [[nodiscard]] virtual const std::filesystem::path& place() const = 0;
  // The directory as it was opened: also what env() is.
  [[nodiscard]] virtual VaultDirectory& directory() = 0;
  [[nodiscard]] virtual const VaultHeader& header() const = 0;
  [[nodiscard]] virtual bool read_only() const = 0;
  // The DEK epoch of the head that the vault was opened at.
  [[nodiscard]] virtual EpochNumber epoch_at_opening() const { return {}; }
  [[nodiscard]] virtual Env& env() = 0;
  // What is kept for the day on which the disk is full; null: nothing.
  [[nodiscard]] virtual SpaceReserve* space_reserve() { return nullptr; }
  // REQUIRES: owner. Makes what is missing of it, as large as the vault's own files ask for.
  virtual void fill_reserve() {}
  [[nodiscard]] virtual EpochKeys& keys() = 0;
  [[nodiscard]] virtual KeyCustody& custody() = 0;
  [[nodiscard]] virtual SegmentStore& segments() = 0;
  // REQUIRES: owner. Commits sync the segments first.
  [[nodiscard]] virtual Journal& journal() = 0;
  [[nodiscard]] virtual Catalogue& catalogue() = 0;
  [[nodiscard]] virtual ActivityLog& activity() = 0;
  // What opening found and healed or could not heal, one line each, for the log and `vault show`.
  [[nodiscard]] virtual const std::vector<std::string>& opening_notes() const = 0;
  // A reader had to do without the newest state, and why: working tree and list of jobs are older, or empty.
  [[nodiscard]] virtual std::optional<Error> history_damage() const { return std::nullopt; }
  // A reader may not have all recovery points that the newest head vouches for, and why: the last one that it has of an
  // item need not be the newest.
  [[nodiscard]] virtual std::optional<Error> points_in_doubt() const { return std::nullopt; }
  // Files that opening found to be there by their names alone: somebody's doing. They count for nothing.
  [[nodiscard]] virtual std::vector<Damage> passed_over() const { return {}; }
  // Things that went wrong since the last call without failing what was asked for (a head or an activity entry that
  // could not be written, a file that could not be removed), one line each, for the log.
  [[nodiscard]] virtual std::vector<std::string> take_warnings() { return {}; }
  // Adds one: what was being done, and what came of it.
  virtual void warn(const std::string& what, const Error& error) = 0;

  // What happened that whoever looks after the vault wants to know, since the last call: one line each, for the log. No
  // names from inside the vault.
  [[nodiscard]] virtual std::vector<std::string> take_news() { return {}; }
  // Adds one.
  virtual void tell(std::string /*news*/) {}

  // Appends the catalogue entry of a change (encode_change(…)) to the journal and applies it to the catalogue; durable
  // by the next journal commit. A failure has changed nothing.
  [[nodiscard]] virtual Result<Lsn> log_catalogue(Bytes entry) = 0;

  // --- Jobs. A backup job is begun at an item's first change, finished by the commit. ---
  // Logs and commits the start (and for a backup that an item was ever attempted). `begun` is the LSN from which its
  // writes count. A start that can't be made durable leaves no job in progress: it has failed then.
  [[nodiscard]] virtual Result<JobInfo> begin_job(JobKind kind, const std::string& item) = 0;
  // The same for what somebody has asked for: a start that fails, for whatever reason, is recorded as a failed job.
  [[nodiscard]] virtual Result<JobInfo> begin_asked_job(JobKind kind, const std::string& item) {
    return begin_job(kind, item);
  }
  // Records what was asked for and never became a job of this vault, or was done beside it: `job` has its kind, item
  // (left out if none can have that name), final state and detail. It gets a number and an activity record; a backup
  // counts as the attempt after which customer-managed keys can't be set. What the vault can't take now (sealed, full)
  // the machine keeps for the next opening, without names.
  virtual void record_attempt(JobInfo /*job*/) {}
  // Of a vault that nobody owns just now: the machine keeps what was done, for the next owner.
  virtual void keep_attempt(const JobInfo& /*job*/) {}
  // What the machine keeps, as the jobs that the next owner will make of it, under the numbers that they will have as
  // far as can be told.
  [[nodiscard]] virtual std::vector<JobInfo> kept_jobs() { return {}; }
  // Puts an item on the list of items; no-op for one that is there. Durable by the next journal commit. publish_point
  // does it too.
  [[nodiscard]] virtual Status register_item(const std::string& /*item*/) { return ok_status(); }
  // Ends a job without a point (failed, interrupted, restore, no change). For completed_no_change `turn_explicit` names
  // an `auto` point that becomes an explicit one. Feeds the rotation rule (job_completed) and runs a bounded refresh
  // when a version is Retiring.
  [[nodiscard]] virtual Status finish_job(JobInfo job, std::optional<PointNumber> turn_explicit) = 0;

  // Publishes a recovery point: everything the manifest refers to must have been put into segments already. Closes the
  // open segment, writes the manifest, journals point and job together, commits, writes head and pin, feeds the
  // rotation rule. The point is complete when this returns success, and absent after a failure or crash before the
  // journal's commit. What is known to be damaged or missing does not keep it from being made: the job then ends as
  // completed_with_warnings, which does not feed the rotation rule. It does too if `job` comes with that state: then
  // something speaks against what was read, and the rotation rule is fed.
  [[nodiscard]] virtual Status publish_point(Manifest manifest, PointInfo point, JobInfo job) = 0;
  // Reads and authenticates a manifest. ManifestMissing, DamagedManifest, AuthenticationFailed: also that of an
  // unproven point, unless the vault was opened with allow_unverified or accept_older.
  [[nodiscard]] virtual Result<Manifest> load_manifest(const PointInfo& point) = 0;

  // --- Re-encryption (docs/decisions/0007-reencryption.md). REQUIRES: owner. ---
  // Says durably whether records that points need may lie outside the segments of their inventories.
  [[nodiscard]] virtual Status set_reencrypting(bool reencrypting) = 0;
  // The epoch under which the point's manifest is sealed. ManifestMissing, DamagedHeader.
  [[nodiscard]] virtual Result<EpochNumber> manifest_epoch(const PointInfo& point) = 0;
  // Writes the point's manifest anew, under the current epoch and with the inventory of where its content lies now; the
  // former one becomes superseded. Where content can't be found (SkipDamage in `segments`), the former inventory stays
  // part of the new one. REQUIRES: long_uses() of the segments held, what was re-encrypted is synced; nobody else moves
  // records. RecoveryPointNotFound, the errors of load_manifest() and of PointSegments::of().
  [[nodiscard]] virtual Status rewrite_point(PointNumber number, PointSegments& segments) = 0;
  // What a superseded manifest holds: the segments that it lists. The errors of load_manifest().
  [[nodiscard]] virtual Result<std::vector<Manifest::SegmentNeeded>> inventory_of(const SupersededManifest& old) = 0;
  // Manifests that are superseded by now need not be kept any longer: they count as superseded long ago.
  [[nodiscard]] virtual Status end_grace() = 0;
  // Removes the manifests superseded at `until` or before; their segments may go then. REQUIRES: nobody holds
  // vault.hold, long_uses() is the caller's alone.
  [[nodiscard]] virtual Status forget_superseded(UnixNanos until) = 0;

  // --- Checkpoint ---
  // Takes a consistent cut and writes it, then frees older journals and checkpoints. `encode_tree` is called once,
  // after the journal was rotated, and must return the tree section for a state that no tree entry is being appended to
  // meanwhile (the caller holds its locks inside the call; the LSN of the cut is read there through `cut`, called by
  // encode_tree while its locks are held). Everything the section refers to must be in segments or in the section
  // itself.
  using EncodeTree = std::function<Result<Bytes>(const std::function<void()>& cut)>;
  [[nodiscard]] virtual Status checkpoint(const EncodeTree& encode_tree) = 0;

  // --- Damage (docs/decisions/0018-damage.md). REQUIRES for what changes anything: owner. ---
  // Makes durable what reads found damaged since the last call, each read once more before. Nothing as a reader.
  [[nodiscard]] virtual Status remember_damage() { return ok_status(); }
  // Forgets what was known to be damaged and was stored anew or can be read again, each read whole before. Damaged
  // patches are made anew of what `newest` has in their place, a point that is about to be published; without it, of
  // what the newest point of each item has. Syncs segments and journal.
  [[nodiscard]] virtual Result<HealedDamage> record_healed(const Manifest* /*newest*/) { return HealedDamage{}; }
  // What is known to be wrong with the item's newest recovery point; reads its map pages if anything is known at all.
  [[nodiscard]] virtual Result<std::vector<DamagedRange>> known_damage_of_item(const std::string& /*item*/) {
    return std::vector<DamagedRange>();
  }
  // Reads whole what lies in these segments and what is known to be damaged, follows the recovery points to what no
  // segment has, and remembers and forgets accordingly. Errors of disk and keys; then nothing was remembered.
  [[nodiscard]] virtual Result<ExaminedDamage> examine_damage(const std::set<ContainerNumber>& /*segments*/) {
    return ExaminedDamage{};
  }

  // To be called after a compaction: what is remembered of where chunks lie is forgotten.
  virtual void segments_moved() = 0;

  // Writes a head and moves the pin (at key changes and commits this happens by itself).
  [[nodiscard]] virtual Status write_head() = 0;

  // Clean close: the caller has checkpointed (or accepts a longer replay); ends the journal, closes the segment, saves
  // the index, writes head and pin.
  [[nodiscard]] virtual Status close() = 0;
};

// `vault trust`: pins the vault as it is now after comparing the fingerprint of its newest epoch (FingerprintMismatch),
// also over PinOutdated; a root fingerprint will do for a vault that has one epoch only. Reads the vault and writes
// nothing into it. With accept_older also where the newest head is older than the pin, or of another branch: who opens
// it as owner next starts a new incarnation (Pin::restart_above). With `escrow_key` (a private key) it is opened by
// that one and no key vault is asked.
[[nodiscard]] Result<Pin> trust_vault(const Vault::Machine& machine, const std::filesystem::path& path,
                                      const VaultFingerprint& fingerprint, bool accept_older,
                                      const RsaKey* escrow_key = nullptr);

// What can be told of a vault without its keys: header and slots. For `vault show` when the key vault is away.
struct VaultGlance {
  VaultHeader header;
  std::vector<KeyringSlot> slots;  // of the newest keyring, not authenticated
  std::optional<EscrowSlot> escrow;
  Generation keyring_generation;
};
[[nodiscard]] Result<VaultGlance> glance_at_vault(Env& env, const std::filesystem::path& path);

// Reads every byte of every file of the vault and repairs nothing. `vault` null: keyless (checksums, inventories: "not
// authenticated"). With a vault: everything is opened, every point's manifest, map pages and chunks are followed, the
// activity chain is checked. A segment that is damaged or gone is damage as long as a point, or the working tree, needs
// something that can be read nowhere else; else it is told as a note.
struct VerifyReport {
  VerifyCounts counts;
  std::vector<Damage> damage;
  std::vector<Damage> notes;                   // damage by which nothing is lost
  std::set<ContainerNumber> damaged_segments;  // that something is wrong with: for Vault::examine_damage
  std::uint64_t points_checked = 0;
  bool authenticated = false;
};
// How the working tree is followed: everything that it refers to is shown to `look`, and told where that has an error.
using ContentLook = std::function<std::optional<Error>(const ChunkId& id)>;
using LossTeller = std::function<void(const std::string& item, const DamagedRange& range)>;
using VerifyTree = std::function<Status(const ContentLook& look, const LossTeller& tell)>;
[[nodiscard]] Result<VerifyReport> verify_vault(Env& env, const std::filesystem::path& path, Vault* vault,
                                                const VerifyProgress& progress, const VerifyTree& tree = {});

}  // namespace vaultfs
