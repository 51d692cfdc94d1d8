#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/custody_impl.h"

// The escrow recipient: who it is, its slot in each next keyring, and recovering by its key.

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

// Every keyring passes here before it is sealed: no change of keys can forget the recipient. What it is wrapped for is
// the key inside the keyring that was opened, never one that storage names. A slot of before the infrastructure key had
// a place in it is made anew.
Status KeyringCustody::rewrap_escrow_slot(Keyring& next, const SecretBuffer& key, bool fresh_key,
                                          const InfrastructureKey& infrastructure) {
  const auto& recipient = next.secrets.escrow;
  if (!recipient) {
    next.escrow.reset();
    return ok_status();
  }
  const bool same = next.escrow && next.escrow->fingerprint == escrow_fingerprint(recipient->public_key);
  const bool whole = next.escrow && next.escrow->wrapped_infrastructure_key.empty() == infrastructure.key.empty();
  if (same && whole && !fresh_key) return ok_status();
  auto slot = wrap_for_escrow(next.vault, next.generation, *recipient, key, infrastructure);
  if (!slot.ok()) return with_context(std::move(slot).error(), "wrapping for the escrow key");
  next.escrow = std::move(slot).value();
  return ok_status();
}

// The infrastructure key as the escrow key gives it. REQUIRES: the keyring of `slot` is open and of this vault.
Result<SecretBuffer> KeyringCustody::escrowed_infrastructure_key(const Context& context, const VaultHeader& header,
                                                                 const EscrowSlot& slot, const RsaKey& escrow_key) {
  const PlatformKeyId id(header.infrastructure_key_id);
  auto here = context.platform_keys.load(id);
  if (slot.wrapped_infrastructure_key.empty()) {
    if (here.ok() || here.code() != ErrorCode::PlatformKeyMissing) return here;
    return Error{ErrorCode::PlatformKeyMissing,
                 here.error().message +
                     ". It is the infrastructure key, which the vault's keyring does not hold for the escrow key yet: "
                     "do that first, then recover by the escrow key. Where the vault still opens, 'vaultctl key "
                     "rewrap VAULT' gives it to the escrow key"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, unwrap_infrastructure_key(header.id, slot, id, escrow_key));
  if (!here.ok()) return here.code() == ErrorCode::PlatformKeyMissing ? Result(std::move(key)) : std::move(here);
  if (constant_time_equal(here->view(), key.view())) return key;
  return Error{ErrorCode::WrongKey, "the platform key " + to_hex(id.view()) +
                                        " of this machine is not the infrastructure key that the vault's escrow slot "
                                        "holds; the vault's data opens by the latter"};
}

// A keyring of this machine's own is about to be written: whoever opens it wants that key too.
Status KeyringCustody::install_infrastructure_key() {
  if (header_.suite != Suite::aes_gcm_in_xchacha) return ok_status();
  SecretBuffer key;
  {
    const MutexLock lock(state_mutex_);
    VAULTFS_ASSIGN_OR_RETURN(key, infrastructure_key_.clone());
  }
  return context_.platform_keys.install(PlatformKeyId(header_.infrastructure_key_id), key);
}

Status KeyringCustody::set_escrow(const std::optional<Bytes>& public_key) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  std::optional<EscrowRecipient> recipient;
  if (public_key) recipient = EscrowRecipient{*public_key, moment().time};
  if (slot_name_of(snapshot().escrow) == slot_name_of(recipient)) return ok_status();
  const Generation before = generation();
  Status changed = change_escrow(recipient);
  // A change that is durable is a success whatever failed after it.
  if (!changed.ok() && slot_name_of(snapshot().escrow) != slot_name_of(recipient) && generation() == before) {
    told_failures_.clear();
    record_failure("encryption.set-escrow", slot_name_of(recipient), changed.error());
  }
  return changed;
}

Status KeyringCustody::change_escrow(const std::optional<EscrowRecipient>& recipient) {
  const auto reached = prove_access();
  if (!reached.ok()) return note_trouble(reached.error());
  note_access();
  for (int attempt = 1;; ++attempt) {
    const Snapshot now = snapshot();
    const bool had_one = now.escrow.has_value();
    if (had_one) VAULTFS_RETURN_IF_ERROR(check_none_retiring(now.rule));
    if (const KeyVersionInfo* active = reached->find(now.active.version); active != nullptr) {
      VAULTFS_RETURN_IF_ERROR(check_may_wrap(*active, context_.env.clock().now().seconds()));
    }
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, wrap_under_active(now, *reached));
    Status committed = commit(
        [&](Keyring& next, const SecretBuffer&) -> Status {
          next.secrets.escrow = recipient;
          replace_active_slot(next, fresh.slot);
          return had_one ? add_epoch(next) : ok_status();
        },
        {&fresh.key, now.generation, true, std::pair("encryption.set-escrow", slot_name_of(recipient))});
    if (committed.ok()) break;
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
  const Status headed = write_head_if_behind();
  record_success("encryption.set-escrow", slot_name_of(recipient));
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(finish_epochs());
  return delete_superseded();
}

Status KeyringCustody::recover(const RecoverRequest& request) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  const Generation before = generation();
  std::string version = request.key ? request.key->to_string() : std::string("platform key");
  Status recovered = recover_in_turn(request, version);
  if (recovered.ok()) return update_registration();
  if (generation() == before) {
    told_failures_.clear();
    record_failure("vault.recover", version, recovered.error());
  }
  return recovered;
}

Result<WrappedKey> KeyringCustody::wrap_for_recovery(const Snapshot& now, const RecoverRequest& request,
                                                     NewPlatformKey& platform, Introduction& introduction) {
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
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey key, examine_key(context_, *request.key, region, {header_.id, identity}));
  return wrap_registered({key.reached.key_vault->name(), key.reached.key, key.version.id}, [&] {
    return wrap_fresh_key(header_.id, next, identity, *key.reached.key_vault, key.reached.key, key.version.id);
  });
}

// The versions of before are gone, or not to be trusted: the vault needs them no more, and what is written from now on
// is under a DEK that they could never read. wrap_for_recovery() has proven the new one.
Status KeyringCustody::install_recovered(Keyring& next, const KeyringSlot& slot, const RecoverRequest& request,
                                         const RotationRule::Moment& now, std::vector<VersionName>& retired) const {
  EncryptionSettings& settings = next.secrets.settings;
  if (request.key) {
    VAULTFS_RETURN_IF_ERROR(check_key_may_be_set(settings));
    settings.customer_managed = true;
    settings.key_vault = request.key->key_vault;
    settings.key = request.key->key;
    settings.pinned_version = request.key->version;
    settings.identity = slot.identity;
  }
  return take_effect_alone(next, slot, now, retired);
}

Status KeyringCustody::recover_in_turn(const RecoverRequest& request, std::string& version) {
  NewPlatformKey platform(context_.platform_keys);
  Introduction introduction;
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const Snapshot now = snapshot();
    VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, wrap_for_recovery(now, request, platform, introduction));
    version = fresh.slot.version;
    VAULTFS_RETURN_IF_ERROR(install_infrastructure_key());
    // What a failed write leaves may be the keyring that the next opening finds: its key stays, and the way to it.
    platform.keep();
    introduction.keep();
    const RotationRule::Moment time = moment();
    Status committed = commit(
        [&](Keyring& next, const SecretBuffer&) { return install_recovered(next, fresh.slot, request, time, retired); },
        {&fresh.key, now.generation, true, std::pair("vault.recover", version)});
    if (committed.ok()) break;
    if (committed.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return committed;
  }
  note_access();
  const Status headed = write_head_if_behind();
  record_success("vault.recover", version);
  for (const VersionName& old : retired) record_success("key.retire", old.version);
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(record_effect());
  VAULTFS_RETURN_IF_ERROR(finish_epochs());
  VAULTFS_RETURN_IF_ERROR(delete_superseded());
  return delete_void_platform_key();
}

}  // namespace vaultfs
