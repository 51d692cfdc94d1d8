#include "vaultmeta/keys/key_rotation.h"

#include <algorithm>
#include <utility>

namespace vaultfs {

Result<RefreshOutcome> KeyRotation::refresh() {
  ChangeTurn turn(turns_);
  if (!read_only_) run_rotation_policy(turn);
  VAULTFS_ASSIGN_OR_RETURN(const ReachedKey reached, kek_.reach());
  held_.note_expiry(reached);
  RefreshOutcome outcome;
  if (read_only_) return outcome;
  VAULTFS_RETURN_IF_ERROR(finish_leftovers(turn, outcome));
  VAULTFS_RETURN_IF_ERROR(observe_retiring());
  // A new version that fails is no reason to keep old ones from retiring. Its failure is recorded after that: it is
  // what this refresh ends with.
  std::string failed;
  const Status followed = follow(turn, reached, outcome, failed);
  const Status retired = retirement_.retire_proven(turn, reached, outcome);
  if (!failed.empty()) turn.record_failure("key.take-effect", failed, followed.error());
  held_.note_expiry(reached);
  VAULTFS_RETURN_IF_ERROR(retired);
  VAULTFS_RETURN_IF_ERROR(followed);
  kek_.look_at_preconditions(reached);
  return outcome;
}

// Before anything is listed, so that what the policy makes now is taken up now. A policy that can't run is reported and
// keeps nothing from going on.
void KeyRotation::run_rotation_policy(ChangeTurn& turn) {
  const EncryptionSettings settings = held_.snapshot().settings;
  if (!settings.customer_managed) return;
  const auto made = context_.resolver.rotate_if_due(settings.key_vault, settings.key);
  // A key vault or key that is not there is the next step's to tell.
  if (made.ok() || is_revocation(made.code()) || made.code() == ErrorCode::KeyVaultUnavailable) return;
  turn.record_failure("key.rotation-policy", settings.key_vault + "/" + settings.key, made.error());
}

// What an earlier change, of this process or of one that crashed, left to be done.
Status KeyRotation::finish_leftovers(ChangeTurn& turn, RefreshOutcome& outcome) {
  VAULTFS_RETURN_IF_ERROR(retirement_.finish_epochs(turn, &outcome));
  VAULTFS_RETURN_IF_ERROR(record_effect());
  if (held_.leftovers_possible()) {
    VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
    VAULTFS_RETURN_IF_ERROR(file_.delete_superseded());
  }
  return delete_void_platform_key();
}

// Rule 5: notices that a Retiring version was disabled too early, and that it is back.
Status KeyRotation::observe_retiring() {
  const HeldKeys::Snapshot now = held_.snapshot();
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
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [&seen](Keyring& next, const SecretBuffer&) {
        for (const VersionRecord& record : seen.versions()) {
          if (record.role == VersionRole::retiring) {
            next.secrets.rule.observe(record.name(), !record.disabled_too_early);
          }
        }
        return ok_status();
      },
      {}));
  return file_.write_head_if_behind();
}

// Rule 1: the newest enabled, currently valid version, only ever forward. A pinned reference stays. Versions that the
// vault has left behind are no way forward, however new their key vault takes them for: an import dates them anew.
Status KeyRotation::follow(ChangeTurn& turn, const ReachedKey& reached, RefreshOutcome& outcome, std::string& failed) {
  const HeldKeys::Snapshot now = held_.snapshot();
  if (!now.settings.customer_managed || now.settings.pinned_version || reached.key_vault == nullptr) return ok_status();
  const std::int64_t now_seconds = clock_.now().seconds();
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
    taken = take_effect(turn, reached, next->id, "key.take-effect", [&reached](EncryptionSettings& settings) {
      settings.key_vault = reached.key_vault->name();
      settings.key = reached.key;
      return ok_status();
    });
  }
  outcome.version_changed = held_.snapshot().active.name() == name_of(*next);
  // A change that is durable has taken effect, even if what comes after it failed.
  if (!taken.ok() && !outcome.version_changed) failed = next->id;
  return taken;
}

Status KeyRotation::take_effect(ChangeTurn& turn, const ReachedKey& reached, const std::string& version,
                                const std::string& what, const ApplySettings& apply) {
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const HeldKeys::Snapshot now = held_.snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh,
                             kek_.wrap_listed(now.generation.next(), now.settings.identity, reached, version));
    RotationRule::Moment time = file_.moment();
    Status committed = file_.commit(
        [&](Keyring& next, const SecretBuffer& current_key) -> Status {
          VAULTFS_RETURN_IF_ERROR(apply(next.secrets.settings));
          // A platform key protects nothing yet, for no item was ever attempted: it must open nothing that follows.
          retired.clear();
          if (next.active_slot().kind == SlotKind::platform) {
            return take_effect_alone(next, fresh.slot, time, retired);
          }
          time.generation = next.generation;
          VAULTFS_RETURN_IF_ERROR(next.secrets.rule.take_effect(record_of(fresh.slot, next), time));
          return supersede_active_slot(next, current_key, fresh.slot);
        },
        {&fresh.key, now.generation, true, std::pair(what, version)});
    if (committed.ok()) break;
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
  const Status headed = file_.write_head_if_behind();
  for (const VersionName& old : retired) turn.record_success("key.retire", old.version);
  turn.record_success(what, version);
  VAULTFS_RETURN_IF_ERROR(headed);
  return finish_effect(turn);
}

Status KeyRotation::finish_effect(ChangeTurn& turn) {
  VAULTFS_RETURN_IF_ERROR(record_effect());
  VAULTFS_RETURN_IF_ERROR(retirement_.finish_epochs(turn));
  VAULTFS_RETURN_IF_ERROR(file_.delete_superseded());
  return delete_void_platform_key();
}

Status KeyRotation::take_effect_alone(Keyring& next, const KeyringSlot& slot, RotationRule::Moment now,
                                      std::vector<VersionName>& retired) const {
  const EpochNumber last = next.secrets.epochs.rbegin()->first;
  RotationRule& rule = next.secrets.rule;
  now.generation = next.generation;
  retired = rule.drop_retiring(now, last);
  if (rule.active()->name() != slot.name()) {
    VAULTFS_RETURN_IF_ERROR(rule.take_effect(record_of(slot, next), now));
    const std::vector<VersionName> superseded = rule.drop_retiring(now, last);
    retired.insert(retired.end(), superseded.begin(), superseded.end());
  }
  const KeyringSlot& before = next.active_slot();
  if (before.kind == SlotKind::platform && slot.kind == SlotKind::key_vault) {
    VAULTFS_ASSIGN_OR_RETURN(next.secrets.void_platform_key, platform_key_of(before));
  }
  next.secrets.retiring_keys.clear();
  next.slots = {slot};
  return retirement_.add_epoch(next);
}

// The platform key that a customer-managed one took the place of, once head and pin have left it behind. It comes back
// by an old recovery file, and goes again.
Status KeyRotation::delete_void_platform_key() {
  const std::optional<PlatformKeyId> id = held_.void_platform_key();
  if (!id || *id == PlatformKeyId(header_.infrastructure_key_id)) return ok_status();
  Status removed = context_.platform_keys.remove(*id);
  if (removed.ok() || removed.code() == ErrorCode::PlatformKeyMissing) return ok_status();
  return with_context(std::move(removed).error(), "deleting the platform key " + to_hex(id->view()) +
                                                      ", which opens nothing any more; the next refresh tries again");
}

// Writes down from which LSN the newest version is in effect. It is read after the keyring became durable: a job that
// began before that has a lower one and does not count.
Status KeyRotation::record_effect() {
  if (held_.effect_is_stored()) return ok_status();
  const Lsn now = file_.host().next_lsn();
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [now](Keyring& next, const SecretBuffer&) {
        next.secrets.rule.record_effect(now);
        return ok_status();
      },
      {}));
  return file_.write_head_if_behind();
}

}  // namespace vaultfs
