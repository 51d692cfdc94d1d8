#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/custody_impl.h"

// Rules 1, 2, 3(b) and 5, in their order.

namespace vaultfs {

Result<RefreshOutcome> KeyringCustody::refresh() {
  const MutexLock turn(change_mutex_);
  if (!read_only_) run_rotation_policy();
  auto reached = read_only_ || sealed() ? reload() : prove_access();
  if (!reached.ok()) return note_trouble(reached.error());
  note_access();
  note_expiry(*reached);
  RefreshOutcome outcome;
  if (read_only_) return outcome;
  VAULTFS_RETURN_IF_ERROR(finish_leftovers(outcome));
  VAULTFS_RETURN_IF_ERROR(observe_retiring());
  // A new version that fails is no reason to keep old ones from retiring. Its failure is recorded after that: it is
  // what this refresh ends with.
  std::string failed;
  const Status followed = follow(*reached, outcome, failed);
  const Status retired = retire_proven(*reached, outcome);
  if (!failed.empty()) record_failure("key.take-effect", failed, followed.error());
  note_expiry(*reached);
  VAULTFS_RETURN_IF_ERROR(retired);
  VAULTFS_RETURN_IF_ERROR(followed);
  look_at_preconditions(*reached);
  return outcome;
}

// Before anything is listed, so that what the policy makes now is taken up now. A policy that can't run is reported and
// keeps nothing from going on.
void KeyringCustody::run_rotation_policy() {
  const EncryptionSettings settings = snapshot().settings;
  if (!settings.customer_managed) return;
  const auto made = context_.resolver.rotate_if_due(settings.key_vault, settings.key);
  // A key vault or key that is not there is the next step's to tell.
  if (made.ok() || is_revocation(made.code()) || made.code() == ErrorCode::KeyVaultUnavailable) return;
  record_failure("key.rotation-policy", settings.key_vault + "/" + settings.key, made.error());
}

// What is in force is told, not undone: refusing here would take away a key that works.
void KeyringCustody::look_at_preconditions(const ReachedKey& reached) {
  if (reached.key_vault == nullptr) return;
  const auto properties = reached.key_vault->properties();
  if (!properties.ok()) return;  // asked again by the next refresh
  std::vector<Error> unmet = unmet_preconditions(*properties, reached.key_vault->name(), header_.region);
  const MutexLock lock(state_mutex_);
  unmet_ = std::move(unmet);
}

// What cannot be looked at leaves what was seen before.
void KeyringCustody::note_expiry(const ReachedKey& reached) {
  if (reached.key_vault == nullptr) return;
  const MutexLock lock(state_mutex_);
  const VersionName active = current_.active_slot().name();
  const KeyVersionInfo* info = reached.find(active.version);
  if (info == nullptr || !same_version(active, {info->id, reached.key_vault->name(), reached.key})) return;
  looked_at_ = active;
  expires_ = info->expires;
}

// One unwrap with the Active version, compared with the key in memory.
Result<ReachedKey> KeyringCustody::prove_access() {
  const Snapshot now = snapshot();
  ReachedKey reached;
  const auto key = unwrap_slot(context_.resolver, context_.platform_keys, header_.id, now.active, reached);
  if (!key.ok()) return describe_trouble(key.error(), now.active);
  {
    const MutexLock lock(state_mutex_);
    if (!keyring_key_.empty()) {
      if (constant_time_equal(key->view(), keyring_key_.view())) return reached;
      return Error{ErrorCode::AuthenticationFailed, "the key vault unwraps another key than the vault's"};
    }
  }
  return reload();  // sealed by a deadline while the provider was asked
}

// Opens the newest keyring in storage anew: after sealing, and where another process owns the vault.
Result<ReachedKey> KeyringCustody::reload() {
  if (!read_only_) {
    const MutexLock write_lock(write_mutex_);
    VAULTFS_RETURN_IF_ERROR(clear_doubt(generation()));
  }
  VAULTFS_ASSIGN_OR_RETURN(Opened opened, load_newest(context_, header_, header_digest_));
  if (opened.active_trouble) return *opened.active_trouble;
  const bool older = opened.keyring.generation < generation();
  if (older || (!read_only_ && opened.digest != keyring_digest())) {
    return Error{ErrorCode::RollbackDetected, "another keyring was put in the place of the vault's own"};
  }
  // Whoever held an older key version can make one of a higher generation; he has not the data key that was newest.
  VAULTFS_RETURN_IF_ERROR(check_keeps_newest_epoch(opened.keyring));
  ReachedKey reached = std::move(opened.active);
  VAULTFS_RETURN_IF_ERROR(adopt(std::move(opened)));
  return reached;
}

Status KeyringCustody::check_keeps_newest_epoch(const Keyring& keyring) const {
  const VaultFingerprint known = status().fingerprint;
  const auto found = keyring.secrets.epochs.find(known.epoch);
  if (found != keyring.secrets.epochs.end()) {
    VAULTFS_ASSIGN_OR_RETURN(const Digest digest, epoch_fingerprint(keyring.secrets.root_key, found->second.dek,
                                                                    keyring.vault, known.epoch));
    if (constant_time_equal(digest.view(), known.digest.view())) return ok_status();
  }
  return Error{ErrorCode::RollbackDetected, "a keyring without the vault's newest data key was put in its place"};
}

// What an earlier change, of this process or of one that crashed, left to be done.
Status KeyringCustody::finish_leftovers(RefreshOutcome& outcome) {
  VAULTFS_RETURN_IF_ERROR(finish_epochs(&outcome));
  VAULTFS_RETURN_IF_ERROR(record_effect());
  bool leftovers = false;
  {
    const MutexLock lock(state_mutex_);
    leftovers = leftovers_possible_;
  }
  if (leftovers) {
    VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
    VAULTFS_RETURN_IF_ERROR(delete_superseded());
  }
  return delete_void_platform_key();
}

// Rule 5: notices that a Retiring version was disabled too early, and that it is back.
Status KeyringCustody::observe_retiring() {
  const Snapshot now = snapshot();
  RotationRule seen = now.rule;
  bool changed = false;
  for (const KeyringSlot& slot : now.slots) {
    if (slot.role != VersionRole::retiring) continue;
    ReachedKey reached;
    const auto older = unwrap_slot(context_.resolver, context_.platform_keys, header_.id, slot, reached);
    if (!older.ok() && is_outage(older.code()) && older.code() != ErrorCode::PlatformKeyMissing) continue;  // no news
    changed = seen.observe(slot.name(), older.ok()) || changed;
  }
  if (!changed) return ok_status();
  VAULTFS_RETURN_IF_ERROR(commit(
      [&seen](Keyring& next, const SecretBuffer&) {
        for (const VersionRecord& record : seen.versions()) {
          if (record.role == VersionRole::retiring) {
            next.secrets.rule.observe(record.name(), !record.disabled_too_early);
          }
        }
        return ok_status();
      },
      {}));
  return write_head_if_behind();
}

// Rule 1: the newest enabled, currently valid version, only ever forward. A pinned reference stays. Versions that the
// vault has left behind are no way forward, however new their key vault takes them for: an import dates them anew.
Status KeyringCustody::follow(const ReachedKey& reached, RefreshOutcome& outcome, std::string& failed) {
  const Snapshot now = snapshot();
  if (!now.settings.customer_managed || now.settings.pinned_version || reached.key_vault == nullptr) return ok_status();
  const std::int64_t now_seconds = context_.env.clock().now().seconds();
  std::vector<KeyVersionInfo> versions = reached.versions;
  const auto name_of = [&reached](const KeyVersionInfo& version) {
    return VersionName{version.id, reached.key_vault->name(), reached.key};
  };
  std::erase_if(versions, [&](const KeyVersionInfo& version) {
    if (version.id == now.active.version) return false;
    return std::ranges::any_of(now.rule.versions(), [&](const VersionRecord& record) {
      return same_version(record.name(), name_of(version));
    });
  });
  const KeyVersionInfo* next = newer_version(versions, now.active.version, now_seconds);
  if (next == nullptr) return ok_status();
  Status taken = check_may_wrap(*next, now_seconds);
  if (taken.ok()) {
    taken = take_effect(reached, next->id, "key.take-effect", [&reached](EncryptionSettings& settings) {
      settings.key_vault = reached.key_vault->name();
      settings.key = reached.key;
      return ok_status();
    });
  }
  outcome.version_changed = snapshot().active.name() == name_of(*next);
  // A change that is durable has taken effect, even if what comes after it failed.
  if (!taken.ok() && !outcome.version_changed) failed = next->id;
  return taken;
}

}  // namespace vaultfs
