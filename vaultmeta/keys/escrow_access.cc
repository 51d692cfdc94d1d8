#include "vaultmeta/keys/escrow_access.h"

#include <utility>

namespace vaultfs {
namespace {

std::string slot_name_of(const std::optional<EscrowRecipient>& recipient) {
  return recipient ? to_hex(escrow_fingerprint(recipient->public_key).view()) : std::string("none");
}

// A Retiring slot leads from the keyring key of its time to the newest one, and the old recipient has that key if he
// kept a copy of the vault.
Status check_none_retiring(const RotationRule& rule) {
  for (const VersionRecord& record : rule.versions()) {
    if (record.role != VersionRole::retiring) continue;
    return Error{ErrorCode::KeyVersionInUse,
                 "version " + record.version +
                     " is Retiring, and by it an old escrow key would open the vault on; complete a backup job and "
                     "run 'vaultctl encryption refresh', or 'vaultctl key rewrap VAULT --drop-retiring', then try "
                     "again"};
  }
  return ok_status();
}

// In a disaster a key vault of another region is refused as ever. One that says of no region where it is, is told of
// afterwards (encryption show): nobody has to find out first what to do about it.
Result<std::string> region_to_demand(KeyVaultResolver& resolver, const std::string& key_vault, const VaultIdentity& as,
                                     const std::string& region) {
  VAULTFS_ASSIGN_OR_RETURN(const auto opened, resolver.open(key_vault, as));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, opened->properties());
  return properties.region.value_or("").empty() ? std::string() : region;
}

}  // namespace

// A keyring of this machine's own is about to be written: whoever opens it wants that key too.
Status EscrowAccess::install_infrastructure_key() {
  if (header_.suite != Suite::aes_gcm_in_xchacha) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key, held_.infrastructure_key());
  return context_.platform_keys.install(PlatformKeyId(header_.infrastructure_key_id), key);
}

Status EscrowAccess::set_escrow(const std::optional<Bytes>& public_key) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  std::optional<EscrowRecipient> recipient;
  if (public_key) recipient = EscrowRecipient{*public_key, file_.moment().time};
  if (slot_name_of(held_.snapshot().escrow) == slot_name_of(recipient)) return ok_status();
  const Generation before = held_.place().generation;
  Status changed = change_escrow(turn, recipient);
  // A change that is durable is a success whatever failed after it.
  if (!changed.ok() && slot_name_of(held_.snapshot().escrow) != slot_name_of(recipient) &&
      held_.place().generation == before) {
    turn.record_refusal("encryption.set-escrow", slot_name_of(recipient), changed.error());
  }
  return changed;
}

Status EscrowAccess::change_escrow(ChangeTurn& turn, const std::optional<EscrowRecipient>& recipient) {
  VAULTFS_ASSIGN_OR_RETURN(const ReachedKey reached, kek_.reach());
  for (int attempt = 1;; ++attempt) {
    const HeldKeys::Snapshot now = held_.snapshot();
    const bool had_one = now.escrow.has_value();
    if (had_one) VAULTFS_RETURN_IF_ERROR(check_none_retiring(now.rule));
    VAULTFS_RETURN_IF_ERROR(kek_.check_may_wrap_now(reached));
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, kek_.wrap_under_active(now, reached));
    Status committed = file_.commit(
        [&](Keyring& next, const SecretBuffer&) -> Status {
          next.secrets.escrow = recipient;
          replace_active_slot(next, fresh.slot);
          return had_one ? retirement_.add_epoch(next) : ok_status();
        },
        {&fresh.key, now.generation, true, std::pair("encryption.set-escrow", slot_name_of(recipient))});
    if (committed.ok()) break;
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
  const Status headed = file_.write_head_if_behind();
  turn.record_success("encryption.set-escrow", slot_name_of(recipient));
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(retirement_.finish_epochs(turn));
  return file_.delete_superseded();
}

Status EscrowAccess::recover(const KeyCustody::RecoverRequest& request) {
  ChangeTurn turn(turns_);
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  const Generation before = held_.place().generation;
  std::string version = request.key ? request.key->to_string() : std::string("platform key");
  Status recovered = recover_in_turn(turn, request, version);
  if (recovered.ok()) return file_.update_registration();
  if (held_.place().generation == before) {
    turn.record_refusal("vault.recover", version, recovered.error());
  }
  return recovered;
}

Result<WrappedKey> EscrowAccess::wrap_for_recovery(const HeldKeys::Snapshot& now,
                                                   const KeyCustody::RecoverRequest& request, NewPlatformKey& platform,
                                                   Introduction& introduction) {
  const Generation next = now.generation.next();
  if (!request.key) {
    if (now.settings.customer_managed) {
      return Error{ErrorCode::InvalidArgument,
                   "the vault has a customer-managed key, and there is no way back from that: name its new key"};
    }
    VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform.make());
    return wrap_fresh_platform_key(header_.id, next, context_.platform_keys, id);
  }
  VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(now.settings));
  const std::string identity = request.identity.value_or(now.settings.identity);
  VAULTFS_RETURN_IF_ERROR(introduction.make(context_.resolver, {header_.id, identity}, request.key->key_vault));
  VAULTFS_ASSIGN_OR_RETURN(const std::string region, region_to_demand(context_.resolver, request.key->key_vault,
                                                                      {header_.id, identity}, header_.region));
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey key, examine_key(context_.resolver, context_.env.clock(), *request.key,
                                                              region, {header_.id, identity}));
  return kek_.wrap_listed(next, identity, key.reached, key.version.id);
}

// The versions of before are gone, or not to be trusted: the vault needs them no more, and what is written from now on
// is under a DEK that they could never read. wrap_for_recovery() has proven the new one.
Status EscrowAccess::install_recovered(Keyring& next, const KeyringSlot& slot,
                                       const KeyCustody::RecoverRequest& request, const RotationRule::Moment& now,
                                       std::vector<VersionName>& retired) const {
  EncryptionSettings& settings = next.secrets.settings;
  if (request.key) {
    VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(settings));
    settings.customer_managed = true;
    settings.key_vault = request.key->key_vault;
    settings.key = request.key->key;
    settings.pinned_version = request.key->version;
    settings.identity = slot.identity;
  }
  return rotation_.take_effect_alone(next, slot, now, retired);
}

Status EscrowAccess::recover_in_turn(ChangeTurn& turn, const KeyCustody::RecoverRequest& request,
                                     std::string& version) {
  NewPlatformKey platform(context_.platform_keys);
  Introduction introduction;
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const HeldKeys::Snapshot now = held_.snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, wrap_for_recovery(now, request, platform, introduction));
    version = fresh.slot.version;
    VAULTFS_RETURN_IF_ERROR(install_infrastructure_key());
    // What a failed write leaves may be the keyring that the next opening finds: its key stays, and the way to it.
    platform.keep();
    introduction.keep();
    const RotationRule::Moment time = file_.moment();
    Status committed = file_.commit(
        [&](Keyring& next, const SecretBuffer&) { return install_recovered(next, fresh.slot, request, time, retired); },
        {&fresh.key, now.generation, true, std::pair("vault.recover", version)});
    if (committed.ok()) break;
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
  kek_.note_access();
  const Status headed = file_.write_head_if_behind();
  turn.record_success("vault.recover", version);
  for (const VersionName& old : retired) turn.record_success("key.retire", old.version);
  VAULTFS_RETURN_IF_ERROR(headed);
  return rotation_.finish_effect(turn);
}

}  // namespace vaultfs
