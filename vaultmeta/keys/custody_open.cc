#include <utility>

#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "vaultmeta/keys/custody_impl.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/machine/vault_place.h"

// Opening: the newest keyring, unwrapped through a provider, checked against the vault's header.

namespace vaultfs {
namespace {

// K through a Retiring slot: its older keyring key opens the link.
Result<SecretBuffer> unwrap_by_retiring(const KeyCustody::Context& context, const ClosedKeyring& closed,
                                        const KeyringSlot& slot) {
  ReachedKey reached;
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer older,
                           unwrap_slot(context.resolver, context.platform_keys, closed.vault, slot, reached));
  return open_link(closed.vault, closed.generation, slot, older);
}

Result<SecretBuffer> unwrap_keyring_key(const KeyCustody::Context& context, const ClosedKeyring& closed,
                                        ReachedKey& active, std::optional<Error>& active_trouble) {
  auto key = unwrap_slot(context.resolver, context.platform_keys, closed.vault, closed.active_slot(), active);
  if (key.ok()) return key;
  if (!is_outage(key.code())) return describe_trouble(key.error(), closed.active_slot());
  for (const KeyringSlot& slot : closed.slots) {
    if (slot.role != VersionRole::retiring) continue;
    auto by_retiring = unwrap_by_retiring(context, closed, slot);
    if (!by_retiring.ok()) continue;
    active_trouble = describe_trouble(key.error(), closed.active_slot());
    return by_retiring;
  }
  return describe_trouble(key.error(), closed.active_slot());
}

// Why the machine's infrastructure key can't be had, with what else brings it back.
Error missing_infrastructure_key(Error why, const std::optional<EscrowSlot>& escrow) {
  if (why.code != ErrorCode::PlatformKeyMissing || !escrow || escrow->wrapped_infrastructure_key.empty()) return why;
  why.message += ", or from its escrow key: vaultctl vault recover VAULT --escrow-key-file FILE --key KEYREF";
  return why;
}

bool has_epoch(const Keyring& keyring, const std::optional<VaultFingerprint>& wanted) {
  if (!wanted || wanted->epoch.value == 0) return true;
  const auto found = keyring.secrets.epochs.find(wanted->epoch);
  if (found == keyring.secrets.epochs.end()) return false;
  const auto digest = epoch_fingerprint(keyring.secrets.root_key, found->second.dek, keyring.vault, wanted->epoch);
  return digest.ok() && *digest == wanted->digest;
}

}  // namespace

KeyringCustody::KeyringCustody(const Context& context, const VaultHeader& header, const Digest& header_digest,
                               bool read_only)
    : context_(context),
      header_(header),
      header_digest_(header_digest),
      read_only_(read_only),
      keys_(header.id, header.suite) {}

Result<KeyringCustody::Opened> KeyringCustody::open_stored(const Context& context, const VaultHeader& header,
                                                           const StoredKeyring& file, const RsaKey* escrow_key) {
  Opened opened;
  if (escrow_key != nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(opened.key, unwrap_by_escrow(header.id, file.closed.escrow, *escrow_key));
  } else {
    VAULTFS_ASSIGN_OR_RETURN(opened.key,
                             unwrap_keyring_key(context, file.closed, opened.active, opened.active_trouble));
  }
  auto keyring = open_keyring(file.bytes, opened.key);
  if (!keyring.ok()) return with_context(std::move(keyring).error(), file.name);
  opened.keyring = std::move(keyring).value();
  // Whoever has the public key can mint a keyring that the KEK unwraps: only the root key proves its origin.
  VAULTFS_ASSIGN_OR_RETURN(const Digest fingerprint, root_fingerprint(opened.keyring.secrets.root_key, header.id));
  if (!constant_time_equal(fingerprint.view(), header.root_fingerprint.view())) {
    return Error{ErrorCode::ForeignRootKey, file.name +
                                                " holds another root key than the vault was created with: it was "
                                                "not written by this vault"};
  }
  const std::optional<EscrowSlot>& escrow = opened.keyring.escrow;
  const bool two_layers = header.suite == Suite::aes_gcm_in_xchacha;
  if (escrow && !escrow->wrapped_infrastructure_key.empty() && !two_layers) {
    return Error{ErrorCode::DamagedKeyring, file.name + " holds an infrastructure key, of which the vault has none"};
  }
  if (escrow_key != nullptr && two_layers) {
    VAULTFS_ASSIGN_OR_RETURN(opened.infrastructure_key,
                             escrowed_infrastructure_key(context, header, *escrow, *escrow_key));
  }
  opened.digest = sha256(file.bytes);
  opened.older_form = file.closed.of_older_form();
  return opened;
}

Result<KeyringCustody::Opened> KeyringCustody::load_newest(const Context& context, const VaultHeader& header,
                                                           const Digest& header_digest, const RsaKey* escrow_key) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, pin_at(context.machine, header.id, context.place));
  VAULTFS_ASSIGN_OR_RETURN(KeyringCandidates found,
                           find_keyrings(context.blobs, header.id, header_digest, pin ? &*pin : nullptr));
  struct Refused {
    StoredKeyring file;
    Error error;
  };
  std::optional<Error> first;
  std::optional<Refused> above;   // the candidate before
  std::optional<Opened> another;  // whose epochs are not those that are known
  for (const Generation generation : found.newest_first) {
    auto file = read_keyring(context.blobs, header.id, header_digest, generation);
    if (!file.ok()) return std::move(file).error();
    auto opened = open_stored(context, header, *file, escrow_key);
    if (opened.ok()) {
      // It can't be opened, but it is the vault's own: a revocation of its key is never an older keyring's turn.
      const bool superseded = above && above->file.closed.generation == generation.next() &&
                              above->file.closed.predecessor == opened->digest &&
                              check_keyring_mac(above->file.bytes, opened->keyring.secrets.root_key).ok();
      if (superseded) return above->error;
      if (generation != found.vouched_for && !has_epoch(opened->keyring, context.preferred)) {
        found.passed_over.emplace_back(
            file->name,
            Error{ErrorCode::RollbackDetected, "it lacks the data key of an epoch that the vault has come to"});
        if (!another) another = std::move(opened).value();
        continue;
      }
      opened->passed_over = std::move(found.passed_over);
      return opened;
    }
    if (generation == found.vouched_for || opened.code() == ErrorCode::MemoryLockFailed) return opened;
    if (!first) first = opened.error();
    found.passed_over.emplace_back(file->name, opened.error());
    above = Refused{std::move(*file), std::move(opened).error()};
  }
  if (another) return std::move(*another);
  // This vault would not ask for that key now.
  if (found.is_another_history && first->code == ErrorCode::KeyRevoked) {
    return Error{
        ErrorCode::RollbackDetected,
        "an older copy of the vault, or one that was continued elsewhere, lies in its place, and its key can't be "
        "had either: " +
            first->message};
  }
  return *first;
}

Status KeyringCustody::adopt(Opened opened) {
  SecretBuffer infrastructure_key = std::move(opened.infrastructure_key);
  SecretBuffer infrastructure_copy;
  if (header_.suite == Suite::aes_gcm_in_xchacha) {
    if (infrastructure_key.empty()) {
      auto here = context_.platform_keys.load(PlatformKeyId(header_.infrastructure_key_id));
      if (!here.ok()) return missing_infrastructure_key(std::move(here).error(), opened.keyring.escrow);
      infrastructure_key = std::move(here).value();
    }
    VAULTFS_ASSIGN_OR_RETURN(infrastructure_copy, infrastructure_key.clone());
  }
  VAULTFS_ASSIGN_OR_RETURN(EpochMap epochs, epoch_material(opened.keyring.secrets));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer id_key, opened.keyring.secrets.id_key.clone());
  VAULTFS_ASSIGN_OR_RETURN(const VaultFingerprint newest, newest_fingerprint(opened.keyring));
  {
    const MutexLock write_lock(write_mutex_);
    const MutexLock lock(state_mutex_);
    current_ = std::move(opened.keyring);
    keyring_key_ = std::move(opened.key);
    infrastructure_key_ = std::move(infrastructure_key);
    digest_ = opened.digest;
    older_form_ = opened.older_form;
    fingerprints_.insert_or_assign(newest.epoch, newest.digest);
    passed_over_ = std::move(opened.passed_over);
    keys_.set(std::move(epochs), std::move(id_key), std::move(infrastructure_copy));
  }
  return ok_status();
}

Result<std::unique_ptr<KeyCustody>> KeyCustody::open(const Context& context, const VaultHeader& header,
                                                     const Digest& header_digest, bool read_only,
                                                     const RsaKey* escrow_key) {
  VAULTFS_ASSIGN_OR_RETURN(auto opened, KeyringCustody::load_newest(context, header, header_digest, escrow_key));
  auto custody = std::make_unique<KeyringCustody>(context, header, header_digest, read_only);
  const std::optional<Error> trouble = opened.active_trouble;
  const ReachedKey active = std::move(opened.active);
  VAULTFS_RETURN_IF_ERROR(custody->adopt(std::move(opened)));
  custody->begin(trouble, active);
  return std::unique_ptr<KeyCustody>(std::move(custody));
}

void KeyringCustody::begin(const std::optional<Error>& active_trouble, const ReachedKey& active) {
  if (active_trouble) note_trouble(*active_trouble);
  note_expiry(active);
  // A reader may make no refresh; an owner makes one at once.
  if (read_only_) look_at_preconditions(active);
}

void KeyringCustody::attach(KeyChangeHost& host) {
  const Lsn now = host.next_lsn();
  std::optional<KeyUpdate> last_update;
  {
    const MutexLock lock(state_mutex_);
    host_ = &host;
    if (current_.secrets.rule.record_effect(now)) rule_dirty_ = true;
    last_update = update_of_before_ = current_.secrets.last_update;
  }
  if (last_update) host.reserve_job(last_update->job);
  // A list of an older vaultfs, or one that a crash left too long. As it is, it protects at least as much.
  static_cast<void>(update_registration());
}

// A crash between the keyring and the job.
void KeyringCustody::record_update_of_before() {
  std::optional<KeyUpdate> update;
  KeyChangeHost* host = nullptr;
  {
    const MutexLock lock(state_mutex_);
    update = std::exchange(update_of_before_, std::nullopt);
    host = host_;
  }
  if (update && host != nullptr) host->ensure_recorded(*update);
}

Status KeyringCustody::job_completed(JobNumber job, Lsn begun) {
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  if (!snapshot().rule.job_completed(job, begun)) return ok_status();
  VAULTFS_RETURN_IF_ERROR(commit(
      [&](Keyring& next, const SecretBuffer&) {
        next.secrets.rule.job_completed(job, begun);
        return ok_status();
      },
      {}));
  return write_head_if_behind();
}

Status KeyringCustody::item_attempted() {
  if (snapshot().settings.item_ever_attempted) return ok_status();
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  VAULTFS_RETURN_IF_ERROR(commit(
      [](Keyring& next, const SecretBuffer&) {
        next.secrets.settings.item_ever_attempted = true;
        return ok_status();
      },
      {}));
  return write_head_if_behind();
}

}  // namespace vaultfs
