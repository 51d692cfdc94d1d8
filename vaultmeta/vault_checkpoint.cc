// Heads, checkpoints and the clean close of an opened vault.
#include <algorithm>
#include <utility>

#include "crypto/hash.h"
#include "store/stream.h"
#include "vaultmeta/checkpoint.h"
#include "vaultmeta/opened_vault.h"

namespace vaultfs {
namespace {

// A copy of the vault on another machine is taken for newer only if the heads between its pin and the newest are there:
// enough for years of daily commits between two copies, at some 270 bytes each.
constexpr std::uint64_t kHeadsKept = 1024;
constexpr int kStatusTries = 1000;

}  // namespace

Result<Head> OpenedVault::next_head(const std::optional<NewCheckpoint>& checkpoint) const {
  const KeyCustody& custody = *parts_.custody;
  Head head = parts_.head.head;
  // A key change on another thread must not be caught halfway.
  for (int tries = 0;; ++tries) {
    const EncryptionStatus status = custody.status();
    head.keyring_generation = status.keyring_generation;
    head.epoch = status.current_epoch;
    head.keyring = custody.keyring_digest();
    if (custody.generation() == status.keyring_generation) break;
    if (tries == kStatusTries) return Error{ErrorCode::TryAgain, "the vault's keys are just being changed"};
  }
  head.generation = parts_.head.head.generation.next();
  head.predecessor = parts_.head.file_digest;
  head.incarnation = custody.incarnation();
  head.written = parts_.machine.env.clock().now();
  head.journal = parts_.journal->number();
  head.journal_lsn = parts_.journal->last_synced();
  head.activity_entries = parts_.activity->count();
  head.activity_chain = parts_.activity->chain();
  head.highest_segment = std::max(head.highest_segment, ContainerNumber(parts_.segments->next_segment().value - 1));
  if (checkpoint.has_value()) {
    head.checkpoint = checkpoint->number;
    head.checkpoint_digest = checkpoint->digest;
  }
  return head;
}

Status OpenedVault::adopt_own_head(Generation generation) {
  // A write that failed late may have left the head in place. It is this process's own: nobody else may write.
  VAULTFS_ASSIGN_OR_RETURN(const StoredHeads heads, read_heads(*parts_.blobs, *parts_.custody));
  for (const Head::Signed& stored : heads.newest_first) {
    if (stored.head.generation != generation || stored.head.predecessor != parts_.head.file_digest) continue;
    parts_.head = stored;
    current_checkpoint_ = stored.head.checkpoint.value;
    return ok_status();
  }
  return Error{ErrorCode::DamagedHead, "a head that this owner did not write stands where the next one belongs"};
}

Status OpenedVault::pin_head() {
  Pin pin;
  pin.vault = parts_.header.id;
  pin.root_fingerprint = parts_.header.root_fingerprint;
  pin.head_generation = parts_.head.head.generation;
  pin.head_digest = parts_.head.file_digest;
  pin.incarnation = parts_.head.head.incarnation;
  return parts_.machine.state.set_pin(pin, parts_.place);
}

Status OpenedVault::catch_up_pin() {
  const std::lock_guard lock(head_mutex_);
  return pin_head();  // the state's file is left alone if it is that pin already
}

Status OpenedVault::pin_newest_head() {
  const std::lock_guard lock(head_mutex_);
  return pin_head();
}

void OpenedVault::remove_old_heads() {
  const std::uint64_t newest = parts_.head.head.generation.value;
  if (newest <= kHeadsKept) return;
  while (parts_.oldest_head.value <= newest - kHeadsKept) {
    const Status removed = parts_.blobs->remove(kHeadFiles.file(parts_.oldest_head.value));
    if (!removed.ok()) return warn("an old head could not be removed", removed.error());
    parts_.oldest_head = parts_.oldest_head.next();
  }
}

Status OpenedVault::write_head() { return write_head_naming(std::nullopt); }

Status OpenedVault::write_head_naming(const std::optional<NewCheckpoint>& checkpoint) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const std::lock_guard lock(head_mutex_);
  VAULTFS_ASSIGN_OR_RETURN(Head head, next_head(checkpoint));
  auto stored = put_head(*parts_.blobs, *parts_.custody, head);
  if (!stored.ok() && stored.code() == ErrorCode::AlreadyExists) {
    VAULTFS_RETURN_IF_ERROR(adopt_own_head(head.generation));
    VAULTFS_ASSIGN_OR_RETURN(head, next_head(checkpoint));
    stored = put_head(*parts_.blobs, *parts_.custody, head);
  }
  if (!stored.ok()) return std::move(stored).error();
  parts_.head = *stored;
  current_checkpoint_ = parts_.head.head.checkpoint.value;
  VAULTFS_RETURN_IF_ERROR(pin_head());
  remove_old_heads();
  return ok_status();
}

void OpenedVault::remove_below(const VaultFolder& folder, ContainerNumber keep) {
  const auto numbers = list_numbers(*parts_.blobs, folder);
  if (!numbers.ok()) return warn("a folder could not be listed", numbers.error());
  for (const std::uint64_t number : *numbers) {
    if (number >= keep.value) return;
    const Status removed = parts_.blobs->remove(folder.file(number));
    if (!removed.ok()) return warn("a superseded file could not be removed", removed.error());
  }
}

Status OpenedVault::checkpoint(const EncodeTree& encode_tree) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const std::lock_guard lock(checkpoint_mutex_);
  const ContainerNumber number = std::exchange(next_checkpoint_, next_checkpoint_.next());
  Checkpoint checkpoint;
  VAULTFS_ASSIGN_OR_RETURN(checkpoint.replay_from, parts_.journal->rotate(number));
  {
    const std::lock_guard head_lock(head_mutex_);
    checkpoint.predecessor_head = parts_.head.head.generation;
  }
  bool cut_made = false;
  VAULTFS_ASSIGN_OR_RETURN(checkpoint.tree, encode_tree([&] {
                             const std::lock_guard change_lock(change_mutex_);
                             checkpoint.cut = parts_.journal->last_appended();
                             checkpoint.catalogue = parts_.catalogue->encode();
                             cut_made = true;
                           }));
  if (!cut_made) return Error{ErrorCode::Internal, "a checkpoint was encoded without a cut"};

  // The sections may hold what is in the journal's buffer only, and name content that is not synced yet.
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit_up_to(checkpoint.cut));
  VAULTFS_RETURN_IF_ERROR(parts_.segments->sync());
  const Bytes content = checkpoint.encode();
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file,
                           seal_stream(parts_.machine.env, keys(), ContainerKind::checkpoint, number, content));
  VAULTFS_RETURN_IF_ERROR(parts_.blobs->put(kCheckpointFiles.file(number.value), file));
  // Only when the head that names it is durable and pinned may go what the heads before it need.
  VAULTFS_RETURN_IF_ERROR(write_head_naming(NewCheckpoint{number, sha256(file)}));
  remove_below(kJournalFiles, checkpoint.replay_from);
  remove_below(kCheckpointFiles, number);
  return ok_status();
}

Status OpenedVault::close() {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const std::lock_guard lock(checkpoint_mutex_);
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  VAULTFS_RETURN_IF_ERROR(parts_.segments->close_segment());
  // The index is derived: without it the next opening takes longer.
  if (const Status saved = parts_.segments->save_index(); !saved.ok()) {
    warn("the chunk index could not be saved", saved.error());
  }
  VAULTFS_RETURN_IF_ERROR(parts_.journal->close_cleanly());
  return write_head();
}

}  // namespace vaultfs
