// Heads, checkpoints and the clean close of an opened vault.
#include "vaultmeta/catalogue/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "store/record/file_origin.h"
#include "store/record/stream.h"
#include "vaultmeta/heads/head_pack.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {
namespace {

// Older ones are kept as their digests (head_pack.h), by which a machine still finds the chain from its pin.
constexpr std::uint64_t kHeadsKept = 1024;
constexpr int kStatusTries = 1000;
// Files that one checkpoint removes; the next one goes on. An owner leaves a few.
constexpr std::uint64_t kMostSuperseded = 1000;

}  // namespace

Result<Head> OpenedVault::next_head(const std::optional<NewCheckpoint>& checkpoint) {
  const KeyCustody& custody = *parts_.custody;
  Head head = head_.head;
  head.format = Head::kFormat2;
  head.features = {};
  head.writer = 0;
  // A key change on another thread must not be caught halfway.
  for (int tries = 0;; ++tries) {
    const EncryptionStatus status = custody.status();
    head.keyring_generation = status.keyring_generation;
    head.epoch = status.current_epoch;
    head.keyring = custody.keyring_digest();
    if (custody.generation() == status.keyring_generation) break;
    if (tries == kStatusTries) return Error{ErrorCode::TryAgain, "the vault's keys are just being changed"};
  }
  head.generation = head_.head.generation.next();
  head.predecessor = head_.file_digest;
  head.incarnation = custody.incarnation();
  head.written = parts_.machine.env.clock().now();
  // A file that was made but not announced yet is not the one to name.
  if (const JournalPosition now = parts_.journal->position(); now.number == named_journal_.number) {
    named_journal_ = now;
  }
  head.journal = named_journal_.number;
  head.journal_header = named_journal_.header;
  head.journal_bytes = named_journal_.bytes;
  head.journal_digest = named_journal_.digest;
  head.journal_lsn = named_journal_.lsn;
  head.points_lsn = points_.lsn;
  head.points = points_.digest;
  const ActivityLog::End log = parts_.activity->end();
  head.activity_entries = log.entries;
  head.activity_chain = log.chain;
  head.activity_file = log.file;
  if (new_pack_.last > head.packs.last) head.packs = new_pack_;
  head.highest_segment = std::max(head.highest_segment, ContainerNumber(parts_.segments->next_segment().value - 1));
  if (checkpoint.has_value()) {
    head.checkpoint = checkpoint->number;
    head.checkpoint_bytes = checkpoint->bytes;
    head.checkpoint_digest = checkpoint->digest;
  }
  return head;
}

Status OpenedVault::adopt_own_head(Generation generation) {
  // A write that failed late may have left the head in place. It is this process's own: nobody else may write.
  VAULTFS_ASSIGN_OR_RETURN(const StoredHeads heads, read_heads(*parts_.blobs, *parts_.custody));
  for (const Head::Signed& stored : heads.newest_first) {
    if (stored.head.generation != generation || stored.head.predecessor != head_.file_digest) continue;
    // Somebody with an old key could have made one that continues ours.
    if (stored.head.epoch < head_.head.epoch) continue;
    head_ = stored;
    current_checkpoint_ = stored.head.checkpoint.value;
    return ok_status();
  }
  // What is no head, or of another branch, makes room for the one that belongs there.
  const std::string name = kHeadFiles.file(generation.value);
  const bool told = std::any_of(parts_.notes.begin(), parts_.notes.end(),
                                [&](const std::string& note) { return note.find(name) != std::string::npos; });
  if (!told) warn("a head that this vault did not write was set aside", {ErrorCode::DamagedHead, name});
  return parts_.blobs->set_aside(name);
}

Status OpenedVault::pin_head() {
  Pin pin;
  pin.vault = parts_.header.id;
  pin.root_fingerprint = parts_.header.root_fingerprint;
  pin.head_generation = head_.head.generation;
  pin.head_digest = head_.file_digest;
  pin.incarnation = head_.head.incarnation;
  pin.fingerprint.epoch = head_.head.epoch;
  VAULTFS_ASSIGN_OR_RETURN(pin.fingerprint.digest, parts_.custody->fingerprint_of(pin.fingerprint.epoch));
  // Until the incarnation is there that an accepted older copy has to start, nothing is done with.
  if (pin.incarnation <= parts_.restart_above) pin.restart_above = parts_.restart_above;
  return parts_.machine.state.set_pin(pin, parts_.place);
}

Status OpenedVault::pin_newest_head(std::uint64_t restart_above) {
  const MutexLock lock(head_mutex_);
  parts_.restart_above = restart_above;
  return pin_head();
}

// A head is removed only once a durable head names the pack that has its digest.
void OpenedVault::pack_old_heads() {
  const std::uint64_t newest = head_.head.generation.value;
  if (newest <= kHeadsKept) return;
  const Generation removable = std::min(Generation(newest - kHeadsKept), head_.head.packs.last);
  while (oldest_head_ <= removable) {
    const Status removed = parts_.blobs->remove(kHeadFiles.file(oldest_head_.value));
    if (!removed.ok()) return warn("an old head could not be removed", removed.error());
    oldest_head_ = oldest_head_.next();
  }
  if (new_pack_.last > head_.head.packs.last) return;  // the next head names it
  const auto pack = make_next_pack(*parts_.blobs, head_, oldest_head_);
  if (!pack.ok()) return warn("the digests of old heads could not be packed", pack.error());
  if (pack->has_value()) new_pack_ = **pack;
}

Status OpenedVault::write_head() { return write_head_naming(std::nullopt); }

OpenedVault::PointsAt OpenedVault::points_now() {
  const MutexLock lock(change_mutex_);
  return {parts_.journal->last_appended(), parts_.catalogue->points_digest()};
}

Status OpenedVault::write_head_naming(const std::optional<NewCheckpoint>& checkpoint) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  // What a head says of the points must be durable before it. Where the journal can't be written any more, it says what
  // it said before; a checkpoint is not named then.
  const PointsAt points = points_now();
  const Status durable = parts_.journal->commit_up_to(points.lsn);
  if (checkpoint.has_value()) VAULTFS_RETURN_IF_ERROR(durable);
  const MutexLock lock(head_mutex_);
  if (durable.ok() && points.lsn > points_.lsn) points_ = points;
  return put_next_head(checkpoint);
}

Status OpenedVault::announce_journal(const JournalPosition& journal) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const MutexLock lock(head_mutex_);
  named_journal_ = journal;
  return put_next_head(std::nullopt);
}

Status OpenedVault::put_next_head(const std::optional<NewCheckpoint>& checkpoint) {
  VAULTFS_ASSIGN_OR_RETURN(Head head, next_head(checkpoint));
  auto stored = put_head(*parts_.blobs, *parts_.custody, head);
  if (!stored.ok() && stored.code() == ErrorCode::AlreadyExists) {
    VAULTFS_RETURN_IF_ERROR(adopt_own_head(head.generation));
    VAULTFS_ASSIGN_OR_RETURN(head, next_head(checkpoint));
    stored = put_head(*parts_.blobs, *parts_.custody, head);
  }
  if (!stored.ok()) return std::move(stored).error();
  if (stored->head.epoch != head_.head.epoch) tell_new_fingerprint();
  head_ = *stored;
  current_checkpoint_ = head_.head.checkpoint.value;
  VAULTFS_RETURN_IF_ERROR(pin_head());
  pack_old_heads();
  return ok_status();
}

void OpenedVault::remove_below(const VaultFolder& folder, ContainerKind kind, ContainerNumber keep) {
  const auto numbers = list_numbers(*parts_.blobs, folder);
  if (!numbers.ok()) return warn("a folder could not be listed", numbers.error());
  std::uint64_t removals = 0;
  for (const std::uint64_t number : *numbers) {
    if (number >= keep.value || removals == kMostSuperseded) return;
    const auto origin =
        origin_of(parts_.machine.env, parts_.path / folder.file(number), keys(), kind, ContainerNumber(number));
    if (!origin.ok()) return warn("a superseded file could not be looked at", origin.error());
    if (!origin->own) continue;
    ++removals;
    const Status removed = parts_.blobs->remove(folder.file(number));
    if (!removed.ok()) return warn("a superseded file could not be removed", removed.error());
  }
}

// One that no file has.
Result<ContainerNumber> OpenedVault::take_checkpoint_number() {
  while (next_checkpoint_.next() != next_checkpoint_) {
    const ContainerNumber number = std::exchange(next_checkpoint_, next_checkpoint_.next());
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info,
                             parts_.machine.env.info(parts_.path / kCheckpointFiles.file(number.value)));
    if (info.kind == FileKind::missing) return number;
  }
  return Error{ErrorCode::OutOfRange, "the vault has used up its numbers of checkpoints"};
}

Status OpenedVault::checkpoint(const EncodeTree& encode_tree) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const MutexLock lock(checkpoint_mutex_);
  VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber number, take_checkpoint_number());
  Checkpoint checkpoint;
  VAULTFS_ASSIGN_OR_RETURN(checkpoint.replay_from, parts_.journal->rotate(number));
  {
    const MutexLock head_lock(head_mutex_);
    checkpoint.predecessor_head = head_.head.generation;
  }
  bool cut_made = false;
  VAULTFS_ASSIGN_OR_RETURN(checkpoint.tree, encode_tree([&] {
                             const MutexLock change_lock(change_mutex_);
                             checkpoint.cut = parts_.journal->last_appended();
                             checkpoint.catalogue = parts_.catalogue->encode();
                             cut_made = true;
                           }));
  if (!cut_made) return Error{ErrorCode::Internal, "a checkpoint was encoded without a cut"};

  // The sections may hold what is in the journal's buffer only, and name content that is not synced yet.
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit_up_to(checkpoint.cut));
  VAULTFS_RETURN_IF_ERROR(parts_.segments->sync());
  const Bytes content = checkpoint.encode();
  // What could not be read back is no checkpoint, and must not take the place of one.
  VAULTFS_RETURN_IF_ERROR(Checkpoint::decode(content));
  VAULTFS_RETURN_IF_ERROR(Catalogue().load(checkpoint.catalogue));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file,
                           seal_stream(parts_.machine.env, keys(), ContainerKind::checkpoint, number, content));
  VAULTFS_RETURN_IF_ERROR(parts_.blobs->put(kCheckpointFiles.file(number.value), file));
  // Only when the head that names it is durable and pinned may go what the heads before it need.
  VAULTFS_RETURN_IF_ERROR(write_head_naming(NewCheckpoint{number, file.size(), sha256(file)}));
  parts_.journal->forget_before(checkpoint.replay_from);
  remove_below(kJournalFiles, ContainerKind::journal, checkpoint.replay_from);
  remove_below(kCheckpointFiles, ContainerKind::checkpoint, number);
  return ok_status();
}

Status OpenedVault::close() {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const SpaceReserve::ContentUse use(space_reserve());
  const MutexLock lock(checkpoint_mutex_);
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  VAULTFS_RETURN_IF_ERROR(parts_.segments->close_segment());
  VAULTFS_RETURN_IF_ERROR(parts_.journal->close_cleanly());
  VAULTFS_RETURN_IF_ERROR(write_head());
  save_index();  // names that head, and with it every segment
  return ok_status();
}

void OpenedVault::segments_moved() {
  point_segments_.forget();
  if (parts_.read_only) return;
  // A compaction takes the index away before it removes a segment.
  if (const auto indexes = parts_.blobs->list(kIndexFiles.name); indexes.ok() && indexes->empty()) save_index();
}

// The index is derived: without it the next opening takes longer.
void OpenedVault::save_index() {
  IndexHead newest;
  {
    const MutexLock lock(head_mutex_);
    newest = {head_.head.generation, head_.file_digest};
  }
  if (const Status saved = parts_.segments->save_index(newest); !saved.ok()) {
    warn("the chunk index could not be saved", saved.error());
  }
}

}  // namespace vaultfs
