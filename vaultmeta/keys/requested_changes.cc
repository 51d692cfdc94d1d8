#include "vaultmeta/keys/requested_changes.h"

#include <utility>

namespace vaultfs {
namespace {

constexpr std::uint32_t kMaxGraceSeconds = 24 * 3600;
constexpr std::uint32_t kMaxOutageSeconds = 30 * 24 * 3600;

Status check_limit(const std::optional<std::uint32_t>& value, std::uint32_t least, std::uint32_t most,
                   const std::string& what) {
  if (!value || (*value >= least && *value <= most)) return ok_status();
  return Error{ErrorCode::InvalidArgument, what + " must be from " + std::to_string(least) + " to " +
                                               std::to_string(most) + ", not " + std::to_string(*value)};
}

}  // namespace

Status RequestedChanges::set_key(const KeyRef& key) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  const Generation before = held_.place().generation;
  std::string version = key.version.value_or(key.to_string());
  Status changed = change_key(turn, key, version);
  // The machine's list follows at the next opening if it can't be written now. A change that failed may have left a
  // keyring of unknown fate, so that what it listed stays.
  if (held_.place().generation != before) static_cast<void>(file_.update_registration());
  if (changed.ok()) return changed;
  // An explicit request is recorded each time. A change that is durable is a success whatever failed after it.
  const HeldKeys::Snapshot after = held_.snapshot();
  if (after.settings.key_vault != key.key_vault || after.settings.key != key.key || after.generation == before) {
    turn.record_refusal("encryption.set", version, changed.error());
  }
  return changed;
}

Status RequestedChanges::set_identity(const std::string& identity) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  const Generation before = held_.place().generation;
  Status changed = change_identity(turn, identity);
  // An explicit request is recorded each time. A change that is durable is a success whatever failed after it.
  if (!changed.ok() && held_.place().generation == before) {
    turn.record_refusal("encryption.set-identity", identity, changed.error());
  }
  return changed;
}

// The old identity need not work any more: to replace one that was taken away is what this is for.
Status RequestedChanges::change_identity(ChangeTurn& turn, const std::string& identity) {
  VAULTFS_RETURN_IF_ERROR(kek_.check_opens_as(identity));
  // Retiring slots change as well: the vault has one identity at a time.
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [&identity](Keyring& next, const SecretBuffer&) {
        next.secrets.settings.identity = identity;
        for (KeyringSlot& slot : next.slots) slot.identity = identity;
        return ok_status();
      },
      {nullptr, std::nullopt, true, std::pair("encryption.set-identity", identity)}));
  kek_.note_access();
  // As for a key: the machine's list follows at the next opening if it can't be written now.
  static_cast<void>(file_.update_registration());
  const Status headed = file_.write_head_if_behind();
  turn.record_success("encryption.set-identity", identity);
  VAULTFS_RETURN_IF_ERROR(headed);
  return file_.delete_superseded();
}

Status RequestedChanges::change_key(ChangeTurn& turn, const KeyRef& key, std::string& version) {
  VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(held_.snapshot().settings));
  VAULTFS_RETURN_IF_ERROR(kek_.reach());
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey examined,
                           examine_key(context_.resolver, context_.env.clock(), key, header_.region,
                                       {header_.id, held_.snapshot().settings.identity}));
  const auto apply = [&](EncryptionSettings& settings) -> Status {
    VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(settings));
    settings.customer_managed = true;
    settings.key_vault = key.key_vault;
    settings.key = key.key;
    settings.pinned_version = key.version;
    return ok_status();
  };
  version = examined.version.id;
  const VersionName active = held_.snapshot().active.name();
  if (active == VersionName{version, examined.reached.key_vault->name(), examined.reached.key}) {
    // Now pinned or followed: no key changes.
    const auto set = [&](Keyring& next, const SecretBuffer&) { return apply(next.secrets.settings); };
    VAULTFS_RETURN_IF_ERROR(file_.commit(set, {nullptr, std::nullopt, true, std::pair("encryption.set", version)}));
  } else {
    // Of two keys whose versions are numbered each has a version "1": only an unwrap tells whether they are one.
    bool same_key = false;
    if (active.version == version) {
      VAULTFS_ASSIGN_OR_RETURN(same_key, kek_.opens_active_slot(examined.reached));
    }
    if (!same_key) {
      Status taken = rotation_.take_effect(turn, examined.reached, version, "encryption.set", apply);
      held_.note_expiry(examined.reached);
      return taken;
    }
    VAULTFS_RETURN_IF_ERROR(rewrap_active(examined.reached, "encryption.set", apply));
  }
  held_.note_expiry(examined.reached);
  const Status headed = file_.write_head_if_behind();
  turn.record_success("encryption.set", version);
  VAULTFS_RETURN_IF_ERROR(headed);
  return file_.delete_superseded();
}

Status RequestedChanges::rewrap(bool drop_retiring) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  Status done = rewrap_in_turn(turn, drop_retiring);
  if (done.ok()) return done;
  turn.record_refusal("key.rewrap", held_.snapshot().active.version, done.error());
  return done;
}

Status RequestedChanges::rewrap_in_turn(ChangeTurn& turn, bool drop_retiring) {
  VAULTFS_ASSIGN_OR_RETURN(const ReachedKey reached, kek_.reach());
  const std::string version = held_.snapshot().active.version;
  VAULTFS_RETURN_IF_ERROR(kek_.check_may_wrap_now(reached));
  if (drop_retiring && held_.snapshot().rule.any_retiring()) {
    RefreshOutcome outcome;
    return retirement_.retire(turn, reached, true, outcome);
  }
  VAULTFS_RETURN_IF_ERROR(rewrap_active(reached, "key.rewrap", [](EncryptionSettings&) { return ok_status(); }));
  VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
  turn.record_success("key.rewrap", version);
  return file_.delete_superseded();
}

Status RequestedChanges::rewrap_active(const ReachedKey& reached, const std::string& what,
                                       const KeyRotation::ApplySettings& apply) {
  for (int attempt = 1;; ++attempt) {
    const HeldKeys::Snapshot now = held_.snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, kek_.wrap_under_active(now, reached));
    Status committed = file_.commit(
        [&](Keyring& next, const SecretBuffer&) -> Status {
          VAULTFS_RETURN_IF_ERROR(apply(next.secrets.settings));
          replace_active_slot(next, fresh.slot);
          return ok_status();
        },
        {&fresh.key, now.generation, true, std::pair(what, fresh.slot.version)});
    if (committed.ok()) return ok_status();
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
}

Status RequestedChanges::new_epoch() {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  VAULTFS_ASSIGN_OR_RETURN(const ReachedKey reached, kek_.reach());
  const std::string version = held_.snapshot().active.version;
  Status begun = file_.commit([this](Keyring& next, const SecretBuffer&) { return retirement_.add_epoch(next); },
                              {nullptr, std::nullopt, true, std::pair("key.new-epoch", version)});
  if (!begun.ok()) {
    turn.record_refusal("key.new-epoch", version, begun.error());
    return begun;
  }
  const Status headed = file_.write_head_if_behind();
  turn.record_success("key.new-epoch", version);
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(retirement_.finish_epochs(turn));
  return file_.delete_superseded();
}

Status RequestedChanges::set_limits(const AccessLimits& limits) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  VAULTFS_RETURN_IF_ERROR(check_limit(limits.refresh_minutes, 1, kMaxRefreshMinutes, "the minutes between refreshes"));
  VAULTFS_RETURN_IF_ERROR(
      check_limit(limits.revocation_grace_seconds, 0, kMaxGraceSeconds, "the seconds of grace after a revocation"));
  VAULTFS_RETURN_IF_ERROR(
      check_limit(limits.outage_ttl_seconds, 0, kMaxOutageSeconds, "the seconds that keys are kept in an outage"));
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [&limits](Keyring& next, const SecretBuffer&) {
        EncryptionSettings& settings = next.secrets.settings;
        settings.refresh_minutes = limits.refresh_minutes.value_or(settings.refresh_minutes);
        settings.revocation_grace_seconds = limits.revocation_grace_seconds.value_or(settings.revocation_grace_seconds);
        settings.outage_ttl_seconds = limits.outage_ttl_seconds.value_or(settings.outage_ttl_seconds);
        return ok_status();
      },
      {}));
  VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
  file_.host().record_setting("encryption.set-limits", held_.snapshot().active.version);
  return file_.delete_superseded();
}

Status RequestedChanges::carry_over(Generation headed) {
  ChangeTurn turn(turns_);
  if (!held_.of_older_form()) return ok_status();
  const bool beyond_head = headed < held_.place().generation;
  // Where the head names the keyring of before, a crash leaves the head and its direct successor: that opens.
  return file_.commit([](Keyring&, const SecretBuffer&) { return ok_status(); }, {nullptr, std::nullopt, beyond_head});
}

Status RequestedChanges::new_incarnation() {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  // No head first: one of the old incarnation would be refused by the pin, which is ahead of it.
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [this](Keyring& next, const SecretBuffer&) {
        ++next.secrets.incarnation;
        return retirement_.add_epoch(next);
      },
      {nullptr, std::nullopt, false, std::pair("vault.new-incarnation", held_.snapshot().active.version)}));
  VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(retirement_.finish_epochs(turn));
  turn.record_success("vault.new-incarnation", held_.snapshot().active.version);
  return file_.delete_superseded();
}

}  // namespace vaultfs
