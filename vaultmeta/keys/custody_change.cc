#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/custody_impl.h"

// Rule 2 (taking effect), another key, rewrapping.

namespace vaultfs {
namespace {

// Between a provider call and its compare-and-swap only small changes (a job, an item) can come.

// The Active slot becomes Retiring: it keeps its wrap, the sealed part remembers the key that is in it.
Status supersede_active_slot(Keyring& next, const SecretBuffer& current_key, KeyringSlot fresh) {
  const auto active = std::find_if(next.slots.begin(), next.slots.end(),
                                   [](const KeyringSlot& slot) { return slot.role == VersionRole::active; });
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer older, current_key.clone());
  active->role = VersionRole::retiring;
  next.secrets.retiring_keys.insert_or_assign(active->name(), std::move(older));
  // A version that comes back as the Active one needs its Retiring slot no more.
  std::erase_if(next.slots, [&](const KeyringSlot& slot) { return slot.name() == fresh.name(); });
  next.secrets.retiring_keys.erase(fresh.name());
  next.slots.insert(next.slots.begin(), std::move(fresh));
  return ok_status();
}

}  // namespace

Result<PlatformKeyId> platform_key_of(const KeyringSlot& slot) {
  Bytes bytes;
  PlatformKeyId id;
  if (slot.kind != SlotKind::platform || !from_hex(slot.version, bytes) || bytes.size() != PlatformKeyId::kSize) {
    return Error{ErrorCode::DamagedKeyring, "a keyring's slot names no platform key"};
  }
  std::copy(bytes.begin(), bytes.end(), id.mutable_view().begin());
  return id;
}

VersionRecord record_of(const KeyringSlot& slot, const Keyring& keyring) {
  VersionRecord record;
  record.key_vault = slot.key_vault;
  record.key = slot.key;
  record.version = slot.version;
  record.took_effect_lsn = VersionRecord::kNotInEffect;
  record.first_epoch = keyring.secrets.epochs.begin()->first;
  return record;
}

Status check_key_may_be_set(const EncryptionSettings& settings) {
  if (settings.customer_managed || !settings.item_ever_attempted) return ok_status();
  return Error{ErrorCode::EncryptionNotChangeable,
               "the vault is platform-managed and an item was registered or attempted already: customer-managed keys "
               "are for new vaults only; create another vault with --key"};
}

void replace_active_slot(Keyring& next, const KeyringSlot& fresh) {
  const VersionName now = fresh.name();
  // The same version may wait under those names already: it is needed once.
  std::erase_if(next.slots,
                [&](const KeyringSlot& slot) { return slot.role == VersionRole::retiring && slot.name() == now; });
  next.secrets.retiring_keys.erase(now);
  for (KeyringSlot& slot : next.slots) {
    if (slot.role != VersionRole::active) continue;
    next.secrets.rule.rename(slot.name(), now);
    slot = fresh;
  }
}

// REQUIRES: the Active version was unwrapped through its provider in this turn. What fails before the commit has
// changed nothing.
Status KeyringCustody::take_effect(const ReachedKey& reached, const std::string& version, const std::string& what,
                                   const ApplySettings& apply) {
  // On the machine's list before the proof: whoever withdraws the version sees it there, or the proof fails.
  VAULTFS_RETURN_IF_ERROR(register_needed({{reached.key_vault->name(), reached.key, version}}));
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const Snapshot now = snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh,
                             wrap_fresh_key(header_.id, now.generation.next(), now.settings.identity,
                                            *reached.key_vault, reached.key, version));
    RotationRule::Moment time = moment();
    Status committed = commit(
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
  const Status headed = write_head_if_behind();
  for (const VersionName& old : retired) record_success("key.retire", old.version);
  record_success(what, version);
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(record_effect());
  VAULTFS_RETURN_IF_ERROR(finish_epochs());
  VAULTFS_RETURN_IF_ERROR(delete_superseded());
  return delete_void_platform_key();
}

Status KeyringCustody::take_effect_alone(Keyring& next, const KeyringSlot& slot, RotationRule::Moment now,
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
  return add_epoch(next);
}

// Under the number that the keyring keeps of it, where it does.
void KeyringCustody::record_success(const std::string& what, const std::string& version) {
  told_failures_.clear();
  KeyChangeHost* host = nullptr;
  std::optional<KeyUpdate> stored;
  {
    const MutexLock lock(state_mutex_);
    host = host_;
    stored = current_.secrets.last_update;
  }
  if (host == nullptr) return;
  const bool is_stored = stored && stored->what == what && stored->version == version;
  host->record_key_change(is_stored ? stored->job : host->next_job(), what, version, nullptr);
}

void KeyringCustody::record_failure(const std::string& what, const std::string& version, const Error& error) {
  const std::string failure = what + " " + version + " " + std::string(error_name(error.code));
  KeyChangeHost* host = nullptr;
  {
    const MutexLock lock(state_mutex_);
    host = host_;
  }
  // One job for a version that keeps failing in the same way, not one for each refresh.
  if (host == nullptr || !told_failures_.insert(failure).second) return;
  host->record_key_change(host->next_job(), what, version, &error);
}

Status KeyringCustody::set_key(const KeyRef& key) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  const Generation before = generation();
  std::string version = key.version.value_or(key.to_string());
  Status changed = change_key(key, version);
  // The machine's list follows at the next opening if it can't be written now.
  static_cast<void>(update_registration());
  if (changed.ok()) return changed;
  // An explicit request is recorded each time. A change that is durable is a success whatever failed after it.
  const Snapshot after = snapshot();
  if (after.settings.key_vault != key.key_vault || after.settings.key != key.key || after.generation == before) {
    told_failures_.clear();
    record_failure("encryption.set", version, changed.error());
  }
  return changed;
}

Status KeyringCustody::set_identity(const std::string& identity) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  const Generation before = generation();
  Status changed = change_identity(identity);
  // An explicit request is recorded each time. A change that is durable is a success whatever failed after it.
  if (!changed.ok() && generation() == before) {
    told_failures_.clear();
    record_failure("encryption.set-identity", identity, changed.error());
  }
  return changed;
}

// The old identity need not work any more: to replace one that was taken away is what this is for.
Status KeyringCustody::change_identity(const std::string& identity) {
  KeyringSlot as_other = snapshot().active;
  as_other.identity = identity;
  // A platform key asks nobody who it is used by, nor does a key vault that is older than access policies.
  VAULTFS_RETURN_IF_ERROR(context_.resolver.check_identity({header_.id, identity}));
  ReachedKey reached;
  auto key = unwrap_slot(context_.resolver, context_.platform_keys, header_.id, as_other, reached);
  if (!key.ok()) return with_context(std::move(key).error(), "as the identity " + identity);
  {
    const MutexLock lock(state_mutex_);
    if (!constant_time_equal(key->view(), keyring_key_.view())) {
      return Error{ErrorCode::AuthenticationFailed, "the key vault unwraps another key than the vault's"};
    }
  }
  // Retiring slots change as well: the vault has one identity at a time.
  VAULTFS_RETURN_IF_ERROR(commit(
      [&identity](Keyring& next, const SecretBuffer&) {
        next.secrets.settings.identity = identity;
        for (KeyringSlot& slot : next.slots) slot.identity = identity;
        return ok_status();
      },
      {nullptr, std::nullopt, true, std::pair("encryption.set-identity", identity)}));
  note_access();
  // As for a key: the machine's list follows at the next opening if it can't be written now.
  static_cast<void>(update_registration());
  const Status headed = write_head_if_behind();
  record_success("encryption.set-identity", identity);
  VAULTFS_RETURN_IF_ERROR(headed);
  return delete_superseded();
}

Status KeyringCustody::change_key(const KeyRef& key, std::string& version) {
  VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(snapshot().settings));
  const auto current = prove_access();
  if (!current.ok()) return note_trouble(current.error());
  note_access();
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey examined,
                           examine_key(context_, key, header_.region, {header_.id, snapshot().settings.identity}));
  const auto apply = [&](EncryptionSettings& settings) -> Status {
    VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(settings));
    settings.customer_managed = true;
    settings.key_vault = key.key_vault;
    settings.key = key.key;
    settings.pinned_version = key.version;
    return ok_status();
  };
  version = examined.version.id;
  const VersionName active = snapshot().active.name();
  if (active == VersionName{version, examined.reached.key_vault->name(), examined.reached.key}) {
    // Now pinned or followed: no key changes.
    const auto set = [&](Keyring& next, const SecretBuffer&) { return apply(next.secrets.settings); };
    VAULTFS_RETURN_IF_ERROR(commit(set, {nullptr, std::nullopt, true, std::pair("encryption.set", version)}));
  } else {
    // Of two keys whose versions are numbered each has a version "1": only an unwrap tells whether they are one.
    bool same_key = false;
    if (active.version == version) {
      VAULTFS_ASSIGN_OR_RETURN(same_key, opens_active_slot(examined.reached));
    }
    if (!same_key) {
      Status taken = take_effect(examined.reached, version, "encryption.set", apply);
      note_expiry(examined.reached);
      return taken;
    }
    VAULTFS_RETURN_IF_ERROR(rewrap_active(examined.reached, "encryption.set", apply));
  }
  note_expiry(examined.reached);
  const Status headed = write_head_if_behind();
  record_success("encryption.set", version);
  VAULTFS_RETURN_IF_ERROR(headed);
  return delete_superseded();
}

Result<bool> KeyringCustody::opens_active_slot(const ReachedKey& reached) {
  const auto key = unwrap_slot_at(header_.id, snapshot().active, reached);
  // Whatever else it answers, it opens nothing, and taking effect demands its own proof of it.
  if (!key.ok() && key.code() == ErrorCode::KeyVaultUnavailable) return key.error();
  const MutexLock lock(state_mutex_);
  return key.ok() && !keyring_key_.empty() && constant_time_equal(key->view(), keyring_key_.view());
}

Status KeyringCustody::rewrap(bool drop_retiring) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  Status done = rewrap_in_turn(drop_retiring);
  if (done.ok()) return done;
  told_failures_.clear();
  record_failure("key.rewrap", snapshot().active.version, done.error());
  return done;
}

Status KeyringCustody::rewrap_in_turn(bool drop_retiring) {
  const auto reached = prove_access();
  if (!reached.ok()) return note_trouble(reached.error());
  note_access();
  const std::string version = snapshot().active.version;
  if (const KeyVersionInfo* active = reached->find(version); active != nullptr) {
    VAULTFS_RETURN_IF_ERROR(check_may_wrap(*active, context_.env.clock().now().seconds()));
  }
  if (drop_retiring && snapshot().rule.any_retiring()) {
    RefreshOutcome outcome;
    return retire(*reached, true, outcome);
  }
  VAULTFS_RETURN_IF_ERROR(rewrap_active(*reached, "key.rewrap", [](EncryptionSettings&) { return ok_status(); }));
  VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
  record_success("key.rewrap", version);
  return delete_superseded();
}

Status KeyringCustody::rewrap_active(const ReachedKey& reached, const std::string& what, const ApplySettings& apply) {
  if (reached.key_vault != nullptr) {
    const std::string version = snapshot().active.version;
    VAULTFS_RETURN_IF_ERROR(register_needed({{reached.key_vault->name(), reached.key, version}}));  // as take_effect()
  }
  for (int attempt = 1;; ++attempt) {
    const Snapshot now = snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, wrap_under_active(now, reached));
    Status committed = commit(
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

Result<WrappedKey> KeyringCustody::wrap_under_active(const Snapshot& now, const ReachedKey& reached) {
  const Generation next = now.generation.next();
  if (now.active.kind == SlotKind::key_vault) {
    return wrap_fresh_key(header_.id, next, now.settings.identity, *reached.key_vault, reached.key, now.active.version);
  }
  VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform_key_of(now.active));
  return wrap_fresh_platform_key(header_.id, next, context_.platform_keys, id);
}

}  // namespace vaultfs
