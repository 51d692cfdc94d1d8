#include "vaultmeta/vault_opening.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "store/stream.h"
#include "vaultmeta/damage_walk.h"
#include "vaultmeta/file_notes.h"
#include "vaultmeta/head_chain.h"
#include "vaultmeta/point_file.h"
#include "vaultmeta/vault_place.h"

namespace vaultfs {
namespace {

// A live owner may remove a file between the moment when its name was read and the moment when it is opened.
constexpr int kReadOnlyAttempts = 5;

bool may_be_a_race(ErrorCode code) { return is_integrity_error(code) || code == ErrorCode::NotFound; }

}  // namespace

VaultOpening::VaultOpening(const Vault::Machine& machine, const VaultOpenOptions& options,
                           const std::optional<Pin>& trusted, TreeReplay& tree, const RsaKey* escrow_key)
    : options_(options), trusted_(trusted), tree_(tree), escrow_key_(escrow_key), parts_(machine, options.path) {
  parts_.read_only = options.read_only;
}

std::unique_ptr<FileLock> hold_segments(Env& env, const std::filesystem::path& path) {
  constexpr int kPolls = 100;
  for (int poll = 0; poll < kPolls; ++poll) {
    auto hold = env.lock_shared(path / kHoldFileName);
    if (hold.ok()) return std::move(hold).value();
    if (hold.code() != ErrorCode::VaultBusy) return nullptr;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return nullptr;
}

bool VaultOpening::lenient() const { return options_.read_only && (options_.accept_older || !pin_.has_value()); }

Result<std::unique_ptr<OpenedVault>> VaultOpening::run() {
  VAULTFS_RETURN_IF_ERROR(parts_.directory->open());
  parts_.path = parts_.directory->place();
  Env& env = parts_.machine.env;
  VAULTFS_ASSIGN_OR_RETURN(parts_.header, read_vault_header(*parts_.directory, header_digest_));
  VAULTFS_RETURN_IF_ERROR(settle_place());
  if (!options_.read_only) {
    VAULTFS_ASSIGN_OR_RETURN(parts_.lock, take_vault_lock(env, parts_.path, options_.lock_wait_seconds));
    // Made here, so that readers find it. Held by some of them, it is there.
    const auto hold = env.lock(parts_.path / kHoldFileName);
    if (!hold.ok() && hold.code() == ErrorCode::ForeignFile) return hold.error();
  } else {
    parts_.hold = hold_segments(env, parts_.path);
  }
  parts_.blobs = make_directory_blob_store(env, parts_.path);
  for (int attempts = 1;; ++attempts) {
    const Status status = attempt();
    if (status.ok()) break;
    if (!options_.read_only || attempts == kReadOnlyAttempts || !may_be_a_race(status.code())) return status.error();
  }
  if (options_.read_only) {
    if (lenient()) VAULTFS_RETURN_IF_ERROR(leave_out_incomplete_points());
    return std::make_unique<OpenedVault>(std::move(parts_));
  }
  return take_over();
}

Status VaultOpening::settle_place() {
  MachineState& state = parts_.machine.state;
  if (trusted_.has_value() && trusted_->vault != parts_.header.id) {
    return Error{ErrorCode::AnotherVault, "another vault has been put in this one's place meanwhile"};
  }
  const Status known = check_vault_is_known_there(state, *parts_.directory, parts_.header.id);
  const bool may_differ = options_.any_place || (options_.read_only && options_.allow_unverified);
  if (!known.ok() && !may_differ) return known;
  VAULTFS_ASSIGN_OR_RETURN(parts_.place, known_place(state, *parts_.directory, parts_.header.id));
  return ok_status();
}

Status VaultOpening::attempt() {
  parts_.notes.clear();
  parts_.history_damage.reset();
  // The pin is read before the heads: a live owner moves it after the head is there.
  VAULTFS_RETURN_IF_ERROR(check_trust());
  if (!options_.read_only) VAULTFS_RETURN_IF_ERROR(settle_directories());
  VAULTFS_RETURN_IF_ERROR(open_keys());
  VAULTFS_RETURN_IF_ERROR(choose_newest_head());
  VAULTFS_RETURN_IF_ERROR(open_segments());
  VAULTFS_RETURN_IF_ERROR(load_newest_state());
  lay_known_damage();
  return ok_status();
}

// What is known to be damaged is not content that the vault has: whoever brings it stores it anew.
void VaultOpening::lay_known_damage() {
  std::vector<DamagedChunk> known;
  for (const KnownDamage& one : parts_.catalogue->damage()) known.push_back(one.chunk);
  parts_.segments->lay_damage(known);
}

Status VaultOpening::check_trust() {
  pin_ = trusted_;
  if (!pin_.has_value()) {
    VAULTFS_ASSIGN_OR_RETURN(pin_, pin_at(parts_.machine.state, parts_.header.id, parts_.place));
  }
  if (!pin_.has_value()) {
    if (options_.read_only && options_.fingerprint.has_value()) return ok_status();
    if (options_.read_only && options_.allow_unverified) {
      parts_.notes.emplace_back(
          "unverified: this machine does not know the vault's keys, and no fingerprint was given");
      return ok_status();
    }
    return Error{
        ErrorCode::VaultUnverified,
        "this machine does not know the vault; run 'vaultctl vault trust VAULT --fingerprint F' with the newest "
        "fingerprint that you have kept of it, or read it with --unverified"};
  }
  if (!constant_time_equal(pin_->root_fingerprint.view(), parts_.header.root_fingerprint.view())) {
    return Error{ErrorCode::ForeignRootKey, "the vault has another root key than the one this machine trusts"};
  }
  return ok_status();
}

Status VaultOpening::settle_directories() {
  Env& env = parts_.machine.env;
  for (const VaultFolder& folder : kVaultFolders)
    VAULTFS_RETURN_IF_ERROR(env.sync_directory(parts_.path / folder.name));
  return env.sync_directory(parts_.path);
}

Status VaultOpening::open_keys() {
  const KeyCustody::Context context{parts_.machine.env,           *parts_.blobs,           parts_.machine.state,
                                    parts_.machine.platform_keys, parts_.machine.resolver, parts_.place};
  // What was opened under the keys of an attempt before goes first.
  parts_.activity.reset();
  parts_.segments.reset();
  VAULTFS_ASSIGN_OR_RETURN(parts_.custody,
                           KeyCustody::open(context, parts_.header, header_digest_, options_.read_only, escrow_key_));
  if (pin_.has_value() && parts_.custody->incarnation() < pin_->incarnation && !options_.accept_older) {
    return Error{ErrorCode::RollbackDetected, "the vault is of an earlier incarnation than this machine has seen"};
  }
  return check_epochs();
}

Status VaultOpening::choose_newest_head() {
  VAULTFS_ASSIGN_OR_RETURN(heads_, read_heads(*parts_.blobs, *parts_.custody));
  const bool accept_older = options_.read_only && options_.accept_older;
  VAULTFS_ASSIGN_OR_RETURN(
      parts_.head, newest_head(*parts_.blobs, heads_, pin_.has_value() ? &*pin_ : nullptr, accept_older, parts_.notes));
  parts_.oldest_head = heads_.newest_first.back().head.generation;
  if (heads_.damage.has_value()) {
    const bool older = heads_.damaged_file < parts_.head.head.generation;
    parts_.notes.push_back(
        (older ? "an older head is damaged: " : "passed over, because it is no head of this vault: ") +
        heads_.damage->message);
  }
  FileNotes keyrings(parts_.notes, "files in keyrings/ are passed over");
  for (const auto& [file, error] : parts_.custody->passed_over()) {
    keyrings.add("passed over, because it is not the vault's newest keyring: " + file + ": " + error.message);
  }
  if (parts_.head.head.features.read_only_compatible != 0 && !options_.read_only) {
    return Error{ErrorCode::UnsupportedFormat,
                 "the vault was made by a newer vaultfs: it uses the feature " +
                     std::to_string(std::countr_zero(parts_.head.head.features.read_only_compatible)) +
                     " that this program can't keep up; read it here, write to it with a newer vaultfs"};
  }
  Status keyring = check_keyring_against_head(*parts_.custody, parts_.head.head);
  if (keyring.ok()) return keyring;
  // The newest one can't be opened: what is wrong with it says more.
  if (const auto passed = parts_.custody->passed_over(); !passed.empty() && !accept_older) return passed.front().second;
  if (!accept_older) return keyring;
  parts_.notes.push_back(keyring.error().message);
  return ok_status();
}

Status VaultOpening::open_segments() {
  SegmentStore::Options options;
  options.read_only = options_.read_only;
  options.compression = options_.compression;
  options.minimum_next_segment = parts_.head.head.highest_segment.next();
  options.closed_epochs_are_whole = parts_.head.head.format != Head::kFormat1;
  const auto chain = std::make_shared<const HeadChain>(heads_.newest_first, parts_.head);
  options.known_head = [chain](const IndexHead& head) { return chain->highest_segment_of(head); };
  SegmentRecovery recovery;
  VAULTFS_ASSIGN_OR_RETURN(parts_.segments, SegmentStore::open(parts_.machine.env, parts_.path, *parts_.blobs,
                                                               parts_.custody->keys(), options, recovery));
  index_rebuilt_ = recovery.index_rebuilt;
  if (recovery.index_rebuilt) parts_.notes.emplace_back("the chunk index was rebuilt from the segments");
  FileNotes closed(parts_.notes, "unfinished segments were closed");
  for (const ContainerNumber number : recovery.recovered_open) {
    closed.add("an unfinished segment was closed: " + kSegmentFiles.file(number.value));
  }
  FileNotes damaged(parts_.notes, "files in segments/ and index/ are damaged, or are passed over");
  for (const auto& [file, error] : recovery.damaged) damaged.add(file + ": " + error.message);
  recovered_ = !recovery.recovered_open.empty();
  return ok_status();
}

Result<std::optional<Checkpoint>> VaultOpening::read_checkpoint(const Head& head) {
  checkpoint_bytes_ = 0;
  if (head.checkpoint.value == 0) return std::optional<Checkpoint>();
  const std::string name = kCheckpointFiles.file(head.checkpoint.value);
  const auto file = parts_.blobs->open(name);
  if (!file.ok()) return stored_file_error(file.error(), ErrorCode::CheckpointMissing, name);
  ExpectedFile expected{std::nullopt, head.checkpoint_digest};
  if (head.checkpoint_bytes != 0) expected.bytes = head.checkpoint_bytes;
  const auto stream = read_stream(parts_.custody->keys(), ContainerKind::checkpoint, head.checkpoint, **file,
                                  ErrorCode::DamagedCheckpoint, expected);
  if (!stream.ok()) return with_context(stream.error(), name);
  checkpoint_bytes_ = stream->file_bytes;
  VAULTFS_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::decode(stream->content));
  return std::optional<Checkpoint>(std::move(checkpoint));
}

Status VaultOpening::open_activity(const Head& head) {
  // As for the journal: a keyring beyond the head may have closed an epoch since.
  const bool closed_epochs_end = parts_.custody->generation() == head.keyring_generation;
  VAULTFS_ASSIGN_OR_RETURN(
      parts_.activity, ActivityLog::open(parts_.machine.env, parts_.path / kActivityFiles.name, parts_.custody->keys(),
                                         options_.read_only, head.activity_entries, head.activity_chain,
                                         closed_epochs_end, head.activity_file));
  FileNotes passed_over(parts_.notes, "files in activity/ are passed over");
  for (const auto& [file, error] : parts_.activity->passed_over()) passed_over.add(file + ": " + error.message);
  return ok_status();
}

namespace {

// The head's word on the recovery points against what the entries up to its LSN make of them.
class PointsCheck {
 public:
  PointsCheck(const Head& head, const Catalogue& catalogue) : head_(head), catalogue_(catalogue) {}
  // Before an entry is applied, and once more behind the last one.
  Status before(Lsn lsn) {
    if (done_ || head_.format == Head::kFormat1 || lsn <= head_.points_lsn) return ok_status();
    done_ = true;
    if (catalogue_.points_digest() == head_.points) return ok_status();
    return Error{ErrorCode::JournalDamaged,
                 "checkpoint and journal give other recovery points than those that the head vouches for"};
  }

 private:
  const Head& head_;
  const Catalogue& catalogue_;
  bool done_ = false;
};

JournalPosition journal_of(const Head& head) {
  return {head.journal, head.journal_header, head.journal_bytes, head.journal_digest, head.journal_lsn};
}

}  // namespace

Status VaultOpening::load_state(const Head& head) {
  parts_.catalogue = std::make_unique<Catalogue>();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Checkpoint> checkpoint, read_checkpoint(head));
  JournalReplayRange range;
  range.required = head.journal_lsn;
  replay_from_ = range.first;
  if (checkpoint.has_value()) {
    range.after = checkpoint->cut;
    range.first = replay_from_ = checkpoint->replay_from;
    VAULTFS_RETURN_IF_ERROR(parts_.catalogue->load(checkpoint->catalogue));
  }
  VAULTFS_RETURN_IF_ERROR(tree_.load(checkpoint.has_value() ? ByteView(checkpoint->tree) : ByteView()));
  PointsCheck points(head, *parts_.catalogue);
  const auto apply = [&](Lsn lsn, JournalRoom room, ByteView entry) -> Status {
    VAULTFS_RETURN_IF_ERROR(points.before(lsn));
    if (room == JournalRoom::catalogue) return parts_.catalogue->apply(entry);
    if (room == JournalRoom::tree) return tree_.apply(lsn, entry);
    return ok_status();
  };
  if (head.format != Head::kFormat1) range.named = journal_of(head);
  // An epoch is closed after the journal has gone on under the next one, and the head that names the keyring with the
  // closed epoch comes later still. A keyring beyond the head may have closed an epoch since.
  if (parts_.custody->generation() == head.keyring_generation) range.last_of_closed_epochs = head.journal;
  VAULTFS_ASSIGN_OR_RETURN(replay_, replay_journals(parts_.machine.env, parts_.path / kJournalFiles.name,
                                                    parts_.custody->keys(), range, apply));
  VAULTFS_RETURN_IF_ERROR(points.before(Lsn(~std::uint64_t{0})));
  return open_activity(head);
}

Status VaultOpening::load_newest_state() {
  Status status = load_state(parts_.head.head);
  // Heads of format 1 do not have it; the next one will.
  if (status.ok()) parts_.head.head.checkpoint_bytes = checkpoint_bytes_;
  if (status.ok() || !options_.read_only) return status;
  const Error reason = status.error();
  if (!is_integrity_error(reason.code)) return status;
  // The whole of an older state where that has the same points; else the newest points alone; else what there is.
  VAULTFS_ASSIGN_OR_RETURN(bool taken, take_older_head(reason, true));
  if (!taken) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_proven_points(reason));
  }
  if (!taken) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_older_head(reason, false));
  }
  if (!taken && lenient()) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_unproven_points(reason));
  }
  return taken ? ok_status() : status;
}

Result<bool> VaultOpening::take_older_head(const Error& reason, bool same_points) {
  // A copy that was taken while the owner worked may lack what its newest head names. An older head will do, but none
  // that the pin has left behind: that would be a rollback which nobody accepted.
  const Head& newest = parts_.head.head;
  for (const Head::Signed& older : heads_.newest_first) {
    if (older.head.generation >= newest.generation) continue;
    if (!lenient() && older.head.generation < pin_->head_generation) break;
    if (same_points && (older.head.format == Head::kFormat1 || older.head.points != newest.points)) continue;
    if (!load_state(older.head).ok()) continue;
    parts_.head = older;
    parts_.notes.push_back("an older head was taken, because the newest is not complete: " + reason.message);
    if (lenient() && !same_points) VAULTFS_RETURN_IF_ERROR(add_points_of_manifests());
    return true;
  }
  return false;
}

Result<bool> VaultOpening::take_proven_points(const Error& reason) {
  const Head& head = parts_.head.head;
  if (head.format == Head::kFormat1 || !(lenient() || options_.points_suffice)) return false;
  // A live owner may have moved on from this head: then there is a newer one at the next attempt.
  if (std::exchange(failed_at_, head.generation) != head.generation) return reason;
  // What precedes the damage is authentic.
  static_cast<void>(load_state(head).ok());
  if (parts_.catalogue->points_digest() != head.points) VAULTFS_RETURN_IF_ERROR(add_points_of_manifests());
  if (parts_.catalogue->points_digest() != head.points || parts_.catalogue->points().empty()) return false;
  for (PointInfo point : parts_.catalogue->points()) {
    if (std::exchange(point.unproven, false)) static_cast<void>(parts_.catalogue->put(point));
  }
  return go_on_with_points(reason);
}

Result<bool> VaultOpening::take_unproven_points(const Error& reason) {
  static_cast<void>(load_state(parts_.head.head).ok());
  VAULTFS_RETURN_IF_ERROR(add_points_of_manifests());
  if (parts_.catalogue->points().empty()) return false;
  return go_on_with_points(reason);
}

Result<bool> VaultOpening::go_on_with_points(const Error& reason) {
  VAULTFS_RETURN_IF_ERROR(tree_.load({}));
  parts_.notes.push_back("the working tree and the list of jobs could not be read: " + reason.message);
  parts_.history_damage = reason;
  VAULTFS_RETURN_IF_ERROR(open_activity(parts_.head.head));
  return true;
}

Status VaultOpening::add_points_of_manifests() {
  VAULTFS_ASSIGN_OR_RETURN(const auto numbers, list_numbers(*parts_.blobs, kPointFiles));
  FileNotes unreadable(parts_.notes, "files in points/ could not be read");
  std::set<PointNumber> superseded;
  for (const SupersededManifest& old : parts_.catalogue->superseded()) superseded.insert(old.file);
  for (const std::uint64_t number : numbers) {
    if (superseded.contains(PointNumber(number))) continue;
    auto point = describe_point(*parts_.blobs, parts_.custody->keys(), PointNumber(number));
    if (!point.ok()) {
      unreadable.add(with_context(point.error(), kPointFiles.file(number)).message);
      continue;
    }
    const std::optional<PointInfo> known = parts_.catalogue->point(point->number);
    if (known.has_value() && !known->unproven) continue;
    // Of two manifests of a point the newer one counts, if all is there that it needs.
    if (known.has_value()) {
      VAULTFS_ASSIGN_OR_RETURN(const std::string problem, what_is_missing(*point));
      if (!problem.empty()) continue;
    }
    if (!parts_.catalogue->item(point->item).has_value()) {
      static_cast<void>(parts_.catalogue->put(ItemInfo{point->item, point->created, true}));
    }
    point->unproven = true;
    static_cast<void>(parts_.catalogue->put(*point));
  }
  return ok_status();
}

Result<std::string> VaultOpening::what_is_missing(const PointInfo& point) {
  const auto file = parts_.blobs->open(kPointFiles.file(point.manifest_file().value));
  if (!file.ok()) return file.error().message;
  const auto inventory = read_clear_inventory(**file);
  if (!inventory.ok()) return inventory.error().message;
  VAULTFS_ASSIGN_OR_RETURN(const auto missing, missing_segments(parts_.machine.env, parts_.path, *inventory));
  return missing.empty() ? std::string() : missing.front().message;
}

bool VaultOpening::is_whole_elsewhere(const PointInfo& point) {
  const auto manifest = read_manifest_of(*parts_.blobs, parts_.custody->keys(), point);
  if (!manifest.ok()) return false;
  SegmentStore& segments = *parts_.segments;
  DamageWalk walk(segments, [&segments](RecordType, const ChunkId& id) { return look_at_marks(segments, id); });
  const auto met = walk.meets_any(*manifest);
  return met.ok() && !*met;
}

Status VaultOpening::leave_out_incomplete_points() {
  for (const PointInfo& point : parts_.catalogue->points()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string problem, what_is_missing(point));
    if (problem.empty() || is_whole_elsewhere(point)) continue;
    parts_.notes.push_back("recovery point " + point.id() + " is incomplete: " + problem);
    static_cast<void>(parts_.catalogue->remove_point(point.number));
  }
  return ok_status();
}

Result<std::unique_ptr<Vault>> Vault::open(const Machine& machine, const VaultOpenOptions& options, TreeReplay& tree) {
  const std::optional<Pin> by_the_machine;
  VaultOpening opening(machine, options, by_the_machine, tree);
  VAULTFS_ASSIGN_OR_RETURN(auto vault, opening.run());
  return std::unique_ptr<Vault>(std::move(vault));
}

}  // namespace vaultfs
