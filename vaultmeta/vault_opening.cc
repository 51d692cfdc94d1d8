#include "vaultmeta/vault_opening.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "crypto/hash.h"
#include "store/stream.h"
#include "vaultmeta/damage_walk.h"
#include "vaultmeta/point_file.h"

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
  Env& env = parts_.machine.env;
  VAULTFS_ASSIGN_OR_RETURN(parts_.header, read_vault_header(env, parts_.path, header_digest_));
  if (!options_.read_only) {
    VAULTFS_ASSIGN_OR_RETURN(parts_.lock, take_vault_lock(env, parts_.path, options_.lock_wait_seconds));
    // Made here, so that readers find it. Held by some of them, it is there.
    static_cast<void>(env.lock(parts_.path / kHoldFileName).ok());
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

Status VaultOpening::attempt() {
  parts_.notes.clear();
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
    VAULTFS_ASSIGN_OR_RETURN(pin_, parts_.machine.state.pin(parts_.header.id));
  }
  if (!pin_.has_value()) {
    if (options_.read_only && options_.allow_unverified) {
      parts_.notes.emplace_back("unverified: this machine does not know the vault's root key");
      return ok_status();
    }
    return Error{
        ErrorCode::VaultUnverified,
        "this machine does not know the vault's root key; compare its fingerprint and run 'vaultctl vault trust', "
        "or read it with --unverified"};
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
  const KeyCustody::Context context{parts_.machine.env, *parts_.blobs, parts_.machine.state,
                                    parts_.machine.platform_keys, parts_.machine.resolver};
  // What was opened under the keys of an attempt before goes first.
  parts_.activity.reset();
  parts_.segments.reset();
  VAULTFS_ASSIGN_OR_RETURN(parts_.custody,
                           KeyCustody::open(context, parts_.header, header_digest_, options_.read_only, escrow_key_));
  if (pin_.has_value() && parts_.custody->incarnation() < pin_->incarnation && !options_.accept_older) {
    return Error{ErrorCode::RollbackDetected, "the vault is of an earlier incarnation than this machine has seen"};
  }
  return ok_status();
}

Status VaultOpening::choose_newest_head() {
  VAULTFS_ASSIGN_OR_RETURN(heads_, read_heads(*parts_.blobs, *parts_.custody));
  const bool accept_older = options_.read_only && options_.accept_older;
  VAULTFS_ASSIGN_OR_RETURN(parts_.head,
                           newest_head(heads_, pin_.has_value() ? &*pin_ : nullptr, accept_older, parts_.notes));
  parts_.oldest_head = heads_.newest_first.back().head.generation;
  if (heads_.damage.has_value()) {
    parts_.notes.push_back("an older head is damaged: " + heads_.damage->message);
  }
  Status keyring = check_keyring_against_head(*parts_.custody, parts_.head.head);
  if (keyring.ok()) return keyring;
  if (!accept_older) return keyring;
  parts_.notes.push_back(keyring.error().message);
  return ok_status();
}

Status VaultOpening::open_segments() {
  SegmentStore::Options options;
  options.read_only = options_.read_only;
  options.compression = options_.compression;
  options.minimum_next_segment = parts_.head.head.highest_segment.next();
  SegmentRecovery recovery;
  VAULTFS_ASSIGN_OR_RETURN(parts_.segments, SegmentStore::open(parts_.machine.env, parts_.path, *parts_.blobs,
                                                               parts_.custody->keys(), options, recovery));
  index_rebuilt_ = recovery.index_rebuilt;
  if (recovery.index_rebuilt) parts_.notes.emplace_back("the chunk index was rebuilt from the segments");
  for (const ContainerNumber number : recovery.recovered_open) {
    parts_.notes.push_back("an unfinished segment was closed: " + kSegmentFiles.file(number.value));
  }
  for (const auto& [file, error] : recovery.damaged) parts_.notes.push_back(file + ": " + error.message);
  recovered_ = !recovery.recovered_open.empty();
  return ok_status();
}

Result<std::optional<Checkpoint>> VaultOpening::read_checkpoint(const Head& head) const {
  if (head.checkpoint.value == 0) return std::optional<Checkpoint>();
  const std::string name = kCheckpointFiles.file(head.checkpoint.value);
  auto file = parts_.blobs->get(name, kMaxStreamBytes);
  if (!file.ok()) return stored_file_error(std::move(file).error(), ErrorCode::CheckpointMissing, name);
  if (sha256(*file) != head.checkpoint_digest) {
    return Error{ErrorCode::DamagedCheckpoint, name + " is not the file that the head names"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const OpenedStream stream,
                           open_stream(parts_.custody->keys(), ContainerKind::checkpoint, head.checkpoint, *file,
                                       ErrorCode::DamagedCheckpoint));
  VAULTFS_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::decode(stream.content));
  return std::optional<Checkpoint>(std::move(checkpoint));
}

Status VaultOpening::open_activity(const Head& head) {
  // As for the journal: a keyring beyond the head may have closed an epoch since.
  const bool closed_epochs_end = parts_.custody->generation() == head.keyring_generation;
  VAULTFS_ASSIGN_OR_RETURN(
      parts_.activity,
      ActivityLog::open(parts_.machine.env, parts_.path / kActivityFiles.name, parts_.custody->keys(),
                        options_.read_only, head.activity_entries, head.activity_chain, closed_epochs_end));
  return ok_status();
}

Status VaultOpening::load_state(const Head& head) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Checkpoint> checkpoint, read_checkpoint(head));
  parts_.catalogue = std::make_unique<Catalogue>();
  Lsn after;
  replay_from_ = ContainerNumber(1);
  if (checkpoint.has_value()) {
    after = checkpoint->cut;
    replay_from_ = checkpoint->replay_from;
    VAULTFS_RETURN_IF_ERROR(parts_.catalogue->load(checkpoint->catalogue));
  }
  VAULTFS_RETURN_IF_ERROR(tree_.load(checkpoint.has_value() ? ByteView(checkpoint->tree) : ByteView()));
  const auto apply = [this](Lsn lsn, JournalRoom room, ByteView entry) -> Status {
    if (room == JournalRoom::catalogue) return parts_.catalogue->apply(entry);
    if (room == JournalRoom::tree) return tree_.apply(lsn, entry);
    return ok_status();
  };
  // An epoch is closed after the journal has gone on under the next one, and the head that names the keyring with the
  // closed epoch comes later still. A keyring beyond the head may have closed an epoch since.
  std::optional<ContainerNumber> last_of_closed_epochs;
  if (parts_.custody->generation() == head.keyring_generation) last_of_closed_epochs = head.journal;
  VAULTFS_ASSIGN_OR_RETURN(replay_,
                           replay_journals(parts_.machine.env, parts_.path / kJournalFiles.name, parts_.custody->keys(),
                                           replay_from_, after, head.journal_lsn, apply, last_of_closed_epochs));
  return open_activity(head);
}

Status VaultOpening::load_newest_state() {
  Status status = load_state(parts_.head.head);
  if (status.ok() || !options_.read_only) return status;
  // A copy that was taken while the owner worked may lack what its newest head names. An older head will do, but none
  // that the pin has left behind: that would be a rollback which nobody accepted.
  const Error reason = status.error();
  if (!is_integrity_error(reason.code)) return status;
  for (const Head::Signed& older : heads_.newest_first) {
    if (older.head.generation >= parts_.head.head.generation) continue;
    if (!lenient() && older.head.generation < pin_->head_generation) break;
    if (!load_state(older.head).ok()) continue;
    parts_.head = older;
    parts_.notes.push_back("an older head was taken, because the newest is not complete: " + reason.message);
    return ok_status();
  }
  if (!lenient()) return status;
  return salvage_points(reason);
}

Status VaultOpening::salvage_points(const Error& reason) {
  parts_.notes.push_back("the working tree and the list of jobs could not be read: " + reason.message);
  parts_.catalogue = std::make_unique<Catalogue>();
  VAULTFS_RETURN_IF_ERROR(tree_.load({}));
  VAULTFS_ASSIGN_OR_RETURN(const auto numbers, list_numbers(*parts_.blobs, kPointFiles));
  for (const std::uint64_t number : numbers) {
    auto point = describe_point(*parts_.blobs, parts_.custody->keys(), PointNumber(number));
    if (!point.ok()) {
      parts_.notes.push_back(kPointFiles.file(number) + ": " + point.error().message);
      continue;
    }
    // Of two manifests of a point the newer one counts, if all is there that it needs.
    if (parts_.catalogue->point(point->number).has_value()) {
      VAULTFS_ASSIGN_OR_RETURN(const std::string problem, what_is_missing(*point));
      if (!problem.empty()) continue;
    }
    if (!parts_.catalogue->item(point->item).has_value()) {
      static_cast<void>(parts_.catalogue->put(ItemInfo{point->item, point->created, true}));
    }
    static_cast<void>(parts_.catalogue->put(*point));
  }
  if (parts_.catalogue->points().empty()) return reason;
  return open_activity(parts_.head.head);
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
  const std::string name = kPointFiles.file(point.manifest_file().value);
  const auto file = parts_.blobs->get(name, kMaxStreamBytes);
  if (!file.ok() || sha256(*file) != point.manifest) return false;
  const auto stream = open_stream(parts_.custody->keys(), ContainerKind::manifest,
                                  ContainerNumber(point.manifest_file().value), *file, ErrorCode::DamagedManifest);
  if (!stream.ok() || !stream->inventory.has_value()) return false;
  const auto manifest = Manifest::decode(stream->content, *stream->inventory);
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
