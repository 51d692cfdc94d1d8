#include "vaultmeta/vault/opening.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <utility>

#include "base/thread/thread.h"
#include "crypto/hash.h"
#include "store/record/container.h"
#include "store/record/stream.h"
#include "vaultmeta/heads/head_chain.h"
#include "vaultmeta/heads/head_choice.h"
#include "vaultmeta/layout/file_notes.h"
#include "vaultmeta/machine/vault_place.h"

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
  parts_.takes_unproven = options.read_only && (options.allow_unverified || options.accept_older);
}

std::unique_ptr<FileLock> hold_segments(Env& env, const std::filesystem::path& path) {
  constexpr int kPolls = 100;
  for (int poll = 0; poll < kPolls; ++poll) {
    auto hold = env.lock_shared(path / kHoldFileName);
    if (hold.ok()) return std::move(hold).value();
    if (hold.code() != ErrorCode::VaultBusy) return nullptr;
    sleep_for(std::chrono::milliseconds(100));
  }
  return nullptr;
}

bool VaultOpening::lenient() const { return options_.read_only && (options_.accept_older || !pin_.has_value()); }

bool VaultOpening::shows_points() const { return lenient() || (options_.read_only && options_.points_suffice); }

Result<std::unique_ptr<OpenedVault>> VaultOpening::run() {
  VAULTFS_RETURN_IF_ERROR(parts_.directory->open());
  parts_.path = parts_.directory->place();
  // Segments that a crash left open are to be closed.
  const SpaceReserve::ContentUse use(&parts_.directory->reserve());
  Env& env = parts_.machine.env;
  auto header = read_vault_header(*parts_.directory, header_digest_);
  if (!header.ok()) return why_no_header(parts_.machine.state, *parts_.directory, std::move(header).error());
  parts_.header = std::move(header).value();
  VAULTFS_RETURN_IF_ERROR(find_place());
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
    if (lenient()) VAULTFS_RETURN_IF_ERROR(tell_incomplete_points());
    return std::make_unique<OpenedVault>(std::move(parts_));
  }
  return take_over();
}

Status VaultOpening::find_place() {
  MachineState& state = parts_.machine.state;
  if (trusted_.has_value() && trusted_->vault != parts_.header.id) {
    return Error{ErrorCode::AnotherVault,
                 "another vault has been put into " + parts_.path.string() + " meanwhile; look at it and try again"};
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
  parts_.points_in_doubt.reset();
  parts_.passed_over.clear();
  // The pin is read before the heads: a live owner moves it after the head is there.
  VAULTFS_RETURN_IF_ERROR(check_trust());
  if (!options_.read_only) VAULTFS_RETURN_IF_ERROR(prepare_directories());
  VAULTFS_RETURN_IF_ERROR(open_keys());
  VAULTFS_RETURN_IF_ERROR(choose_newest_head());
  // An owner has the segments durable before he builds on journals that refer to them. Beside an owner it is the other
  // way round: what a journal refers to is in the segments by then, while what comes later need not be in them yet.
  if (!options_.read_only) VAULTFS_RETURN_IF_ERROR(open_segments());
  VAULTFS_RETURN_IF_ERROR(load_newest_state());
  if (options_.read_only) VAULTFS_RETURN_IF_ERROR(open_segments());
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
    return Error{ErrorCode::VaultUnverified, "this machine does not know the vault; run 'vaultctl vault trust " +
                                                 parts_.path.string() +
                                                 " --fingerprint F' with the newest "
                                                 "fingerprint that you have kept of it, or read it with --unverified"};
  }
  if (!constant_time_equal(pin_->root_fingerprint.view(), parts_.header.root_fingerprint.view())) {
    return Error{ErrorCode::ForeignRootKey, "the vault in " + parts_.path.string() +
                                                " has another root key than the one this machine trusts; if it is "
                                                "meant, accept it with: vaultctl vault trust --fingerprint F"};
  }
  return ok_status();
}

Status VaultOpening::prepare_directories() {
  Env& env = parts_.machine.env;
  for (const VaultFolder& folder : kVaultFolders)
    VAULTFS_RETURN_IF_ERROR(env.sync_directory(parts_.path / folder.name));
  return env.sync_directory(parts_.path);
}

Status VaultOpening::open_keys() {
  KeyCustody::Context context{
      parts_.machine.env, *parts_.blobs, parts_.machine.state, parts_.machine.platform_keys, parts_.machine.resolver,
      parts_.place,       preferred_};
  if (options_.fingerprint.has_value()) context.preferred = options_.fingerprint;
  if (pin_.has_value() && pin_->fingerprint.epoch.value != 0) context.preferred = pin_->fingerprint;
  // What was opened under the keys of an attempt before goes first.
  parts_.activity.reset();
  parts_.segments.reset();
  VAULTFS_ASSIGN_OR_RETURN(parts_.custody,
                           KeyCustody::open(context, parts_.header, header_digest_, options_.read_only, escrow_key_));
  if (pin_.has_value() && parts_.custody->incarnation() < pin_->incarnation && !options_.accept_older) {
    return Error{ErrorCode::RollbackDetected,
                 "the vault in " + parts_.path.string() +
                     " is of an earlier incarnation than this machine has seen; put the "
                     "newer one back, or accept it with: vaultctl vault trust --accept-older"};
  }
  return check_epochs();
}

namespace {

// The checkpoint of a head of format 2, piece by piece: nothing of it is believed yet.
bool is_there(BlobStore& blobs, const std::string& name, const Head& head) {
  const auto file = blobs.open(name);
  if (!file.ok()) return false;
  const auto size = (*file)->size();
  if (!size.ok() || *size != head.checkpoint_bytes) return false;
  Sha256Stream digest;
  Bytes piece(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < *size;) {
    const auto read = (*file)->read_at(at, piece);
    if (!read.ok() || *read == 0) return false;
    digest.add(ByteView(piece).first(*read));
    at += *read;
  }
  return digest.digest() == head.checkpoint_digest;
}

}  // namespace

int VaultOpening::files_there(const Head& head) const {
  const KeyCustody& custody = *parts_.custody;
  int there = custody.generation() == head.keyring_generation && custody.keyring_digest() == head.keyring ? 1 : 0;
  if (is_there(*parts_.blobs, kCheckpointFiles.file(head.checkpoint.value), head)) ++there;
  const auto journal = parts_.blobs->open(kJournalFiles.file(head.journal.value));
  if (!journal.ok()) return there;
  std::array<std::byte, ContainerHeader::kEncodedBytes> header{};
  const auto read = (*journal)->read_at(0, header);
  return read.ok() && *read == header.size() && sha256(header) == head.journal_header ? there + 1 : there;
}

void VaultOpening::sort_out_heads() {
  const EpochKeys& keys = parts_.custody->keys();
  HeadChoiceRules rules;
  if (pin_.has_value()) {
    rules.pinned = pin_->head_generation;
    rules.pinned_digest = pin_->head_digest;
  }
  rules.is_closed = [&keys](EpochNumber epoch) {
    const auto closed =
        keys.with_dek(epoch, [](const EpochKeys::Epoch& key) -> Result<bool> { return key.last_segment.has_value(); });
    return closed.ok() && *closed;
  };
  rules.files_there = [this](const Head& head) { return files_there(head); };
  rules.take_closed_epochs = parts_.takes_unproven;
  HeadChoice choice = choose_heads(heads_.newest_first, rules);
  heads_.newest_first = std::move(choice.newest_first);
  closed_epochs_only_ = choice.closed_epochs_only;
  if (closed_epochs_only_) {
    parts_.notes.emplace_back(
        "unproven: every head of the vault was made with the data key of a closed epoch, so whoever ever held one of "
        "its key versions could have made it");
  }
  for (const auto& [generation, why] : choice.passed_over) {
    const std::string file = kHeadFiles.file(generation.value);
    parts_.notes.push_back("passed over: " + file + ": " + why);
    parts_.passed_over.push_back({file, {ErrorCode::DamagedHead, "passed over: " + why}});
  }
}

Status VaultOpening::choose_newest_head() {
  VAULTFS_ASSIGN_OR_RETURN(heads_, read_heads(*parts_.blobs, *parts_.custody));
  const Generation oldest = heads_.oldest;
  sort_out_heads();
  const bool accept_older = options_.read_only && options_.accept_older;
  VAULTFS_ASSIGN_OR_RETURN(
      parts_.head, newest_head(*parts_.blobs, heads_, pin_.has_value() ? &*pin_ : nullptr, accept_older, parts_.notes));
  parts_.oldest_head = oldest;
  chain_ = chain_of_heads(heads_.newest_first, parts_.head);
  if (heads_.damage.has_value()) {
    const bool older = heads_.damaged_file < parts_.head.head.generation;
    parts_.notes.push_back(
        (older ? "an older head is damaged: " : "passed over, because it is no head of this vault: ") +
        heads_.damage->message);
  }
  FileNotes keyrings(parts_.notes, "files in keyrings/ are passed over");
  for (const auto& [file, error] : parts_.custody->passed_over()) {
    keyrings.add("passed over, because it is not the vault's newest keyring: " + file + ": " + error.message);
    parts_.passed_over.push_back({file, error});
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
  const auto chain = std::make_shared<const HeadChain>(chain_, parts_.head);
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
  for (const auto& [file, error] : parts_.activity->passed_over()) {
    passed_over.add(file + ": " + error.message);
    parts_.passed_over.push_back({file, error});
  }
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
  range.take_over = !options_.read_only;
  replay_from_ = range.first;
  if (checkpoint.has_value()) {
    range.after = checkpoint->cut;
    range.first = replay_from_ = checkpoint->replay_from;
    VAULTFS_RETURN_IF_ERROR(parts_.catalogue->load(checkpoint->catalogue));
  }
  VAULTFS_RETURN_IF_ERROR(tree_.load(checkpoint.has_value() ? ByteView(checkpoint->tree) : ByteView()));
  PointsCheck points(head, *parts_.catalogue);
  const auto apply = [&](Lsn lsn, EntryOwner owner, ByteView entry) -> Status {
    VAULTFS_RETURN_IF_ERROR(points.before(lsn));
    if (owner == EntryOwner::catalogue) return parts_.catalogue->apply(entry);
    if (owner == EntryOwner::tree) return tree_.apply(lsn, entry);
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

Result<std::unique_ptr<Vault>> Vault::open(const Machine& machine, const VaultOpenOptions& options, TreeReplay& tree) {
  const std::optional<Pin> by_the_machine;
  VaultOpening opening(machine, options, by_the_machine, tree);
  VAULTFS_ASSIGN_OR_RETURN(auto vault, opening.run());
  return std::unique_ptr<Vault>(std::move(vault));
}

}  // namespace vaultfs
