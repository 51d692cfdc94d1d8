#include "vaultmeta/keys/active_kek.h"

#include <utility>

#include "crypto/hash.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/vault/key_drill.h"

namespace vaultfs {

Result<ReachedKey> ActiveKek::reach() {
  auto reached = read_only_ || !held_.check_open().ok() ? reload() : prove_access();
  if (!reached.ok()) return held_.note_trouble(reached.error());
  note_access();
  return reached;
}

void ActiveKek::note_access() {
  if (!held_.note_access()) return;
  // The audit log is a record, not a condition: a full disk must not keep a vault sealed.
  const Status ignored = context_.machine.audit("vault.healed", "vault " + to_hex(header_.id.view()));
  static_cast<void>(ignored);
}

// One unwrap with the Active version, compared with the key in memory.
Result<ReachedKey> ActiveKek::prove_access() {
  const HeldKeys::Snapshot now = held_.snapshot();
  ReachedKey reached;
  const auto key = unwrap_slot(context_.resolver, context_.platform_keys, header_.id, now.active, reached);
  if (!key.ok()) return describe_trouble(key.error(), now.active);
  const HeldKeys::Match match = held_.match(*key);
  if (match == HeldKeys::Match::same) return reached;
  if (match == HeldKeys::Match::sealed) return reload();  // by a deadline, while the provider was asked
  return Error{ErrorCode::AuthenticationFailed, "the key vault unwraps another key than the vault's"};
}

// Opens the newest keyring in storage anew: after sealing, and where another process owns the vault.
Result<ReachedKey> ActiveKek::reload() {
  if (!read_only_) VAULTFS_RETURN_IF_ERROR(file_.remove_doubtful());
  VAULTFS_ASSIGN_OR_RETURN(OpenedKeyring opened, open_newest_keyring(context_, header_, header_digest_));
  if (opened.active_trouble) return *opened.active_trouble;
  const bool older = opened.keyring.generation < held_.place().generation;
  if (older || (!read_only_ && opened.digest != held_.place().digest)) {
    return Error{ErrorCode::RollbackDetected, "another keyring was put in the place of the vault's own"};
  }
  // Whoever held an older key version can make one of a higher generation; he has not the data key that was newest.
  VAULTFS_RETURN_IF_ERROR(check_keeps_newest_epoch(opened.keyring));
  ReachedKey reached = std::move(opened.active);
  VAULTFS_RETURN_IF_ERROR(file_.adopt(std::move(opened)));
  return reached;
}

Status ActiveKek::check_keeps_newest_epoch(const Keyring& keyring) const {
  const VaultFingerprint known = held_.status().fingerprint;
  const auto found = keyring.secrets.epochs.find(known.epoch);
  if (found != keyring.secrets.epochs.end()) {
    VAULTFS_ASSIGN_OR_RETURN(const Digest digest, epoch_fingerprint(keyring.secrets.root_key, found->second.dek,
                                                                    keyring.vault, known.epoch));
    if (constant_time_equal(digest.view(), known.digest.view())) return ok_status();
  }
  return Error{ErrorCode::RollbackDetected, "a keyring without the vault's newest data key was put in its place"};
}

void ActiveKek::look_at_preconditions(const ReachedKey& reached) {
  if (reached.key_vault == nullptr) return;
  const auto properties = reached.key_vault->properties();
  if (!properties.ok()) return;  // asked again by the next refresh
  std::vector<Error> unmet = unmet_preconditions(*properties, reached.key_vault->name(), header_.region);
  held_.note_unmet(std::move(unmet));
}

Status ActiveKek::check_may_wrap_now(const ReachedKey& reached) const {
  const KeyVersionInfo* const active = reached.find(held_.snapshot().active.version);
  return active == nullptr ? ok_status() : check_may_wrap(*active, context_.env.clock().now().seconds());
}

Result<bool> ActiveKek::opens_active_slot(const ReachedKey& reached) const {
  const auto key = unwrap_slot_at(header_.id, held_.snapshot().active, reached);
  // Whatever else it answers, it opens nothing, and taking effect demands its own proof of it.
  if (!key.ok() && key.code() == ErrorCode::KeyVaultUnavailable) return key.error();
  return key.ok() && held_.match(*key) == HeldKeys::Match::same;
}

Status ActiveKek::check_opens_as(const std::string& identity) const {
  KeyringSlot as_other = held_.snapshot().active;
  as_other.identity = identity;
  // A platform key asks nobody who it is used by, nor does a key vault that is older than access policies.
  VAULTFS_RETURN_IF_ERROR(context_.resolver.check_identity({header_.id, identity}));
  ReachedKey reached;
  auto key = unwrap_slot(context_.resolver, context_.platform_keys, header_.id, as_other, reached);
  if (!key.ok()) return with_context(std::move(key).error(), "as the identity " + identity);
  if (held_.match(*key) != HeldKeys::Match::same) {
    return Error{ErrorCode::AuthenticationFailed, "the key vault unwraps another key than the vault's"};
  }
  return ok_status();
}

Status ActiveKek::check_opens_alone(const HeldKeys::Snapshot& now) const {
  const std::string name = keyring_blob_name(now.generation);
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, context_.blobs.get(name, kMaxKeyringBytes));
  if (sha256(file) != held_.place().digest) {
    // Either a small change came between, and the compare-and-swap will tell, or storage has changed by itself.
    if (held_.place().generation != now.generation)
      return Error{ErrorCode::TryAgain, "the keyring was changed meanwhile"};
    return Error{ErrorCode::DamagedKeyring, name + " is not what was written"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const ClosedKeyring closed, ClosedKeyring::decode(file));
  return opens_by(context_, header_, file, closed, closed.active_slot(), held_.status().fingerprint);
}

Result<WrappedKey> ActiveKek::wrap_listed(Generation generation, const std::string& identity, const ReachedKey& reached,
                                          const std::string& version) {
  return file_.listed().listed_for({reached.key_vault->name(), reached.key, version}, [&] {
    return wrap_fresh_key(header_.id, generation, identity, *reached.key_vault, reached.key, version);
  });
}

Result<WrappedKey> ActiveKek::wrap_under_active(const HeldKeys::Snapshot& now, const ReachedKey& reached) {
  const Generation next = now.generation.next();
  if (now.active.kind == SlotKind::key_vault) {
    return wrap_listed(next, now.settings.identity, reached, now.active.version);
  }
  VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform_key_of(now.active));
  return wrap_fresh_platform_key(header_.id, next, context_.platform_keys, id);
}

}  // namespace vaultfs
