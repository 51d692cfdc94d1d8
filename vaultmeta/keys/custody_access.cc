#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "vaultmeta/keys/custody_impl.h"

// What callers ask of the custody, and rule 7: grace, TTL, sealing.

namespace vaultfs {
namespace {

std::string named(const VersionRecord& record) {
  if (record.key_vault.empty()) return record.version;
  return record.key_vault + "/" + record.key + "/" + record.version;
}

}  // namespace

Generation KeyringCustody::generation() const {
  const MutexLock lock(state_mutex_);
  return current_.generation;
}

Digest KeyringCustody::keyring_digest() const {
  const MutexLock lock(state_mutex_);
  return digest_;
}

Digest KeyringCustody::keyring_predecessor() const {
  const MutexLock lock(state_mutex_);
  return current_.predecessor;
}

KeyCustody::PassedOver KeyringCustody::passed_over() const {
  const MutexLock lock(state_mutex_);
  return passed_over_;
}

std::uint64_t KeyringCustody::incarnation() const {
  const MutexLock lock(state_mutex_);
  return current_.secrets.incarnation;
}

EncryptionStatus KeyringCustody::status() const {
  const MutexLock lock(state_mutex_);
  EncryptionStatus status;
  status.settings = current_.secrets.settings;
  status.versions = current_.secrets.rule.versions();
  for (VersionRecord& record : status.versions) {
    if (record.role != VersionRole::retired) continue;
    const auto last = current_.secrets.epochs.find(record.last_epoch);
    if (last == current_.secrets.epochs.end() || last->second.last_segment) continue;
    record.role = VersionRole::retiring;
    record.epoch_being_closed = true;
    record.waiting_for = "the data key epoch that it can read is being closed";
  }
  status.access = access_;
  status.problem = problem_;
  status.unmet = unmet_;
  for (const VersionRecord& record : status.versions) {
    if (status.problem || !record.disabled_too_early) continue;
    status.problem =
        Error{ErrorCode::KeyVersionDisabledTooEarly,
              "the Retiring version " + named(record) +
                  " is disabled or gone before a backup has completed; until then, bring it back at its key vault"};
  }
  if (const auto& escrow = current_.secrets.escrow; escrow) {
    status.escrow = EscrowStatus{escrow_fingerprint(escrow->public_key), escrow->since, std::nullopt};
    if (header_.suite == Suite::aes_gcm_in_xchacha) {
      status.escrow->has_infrastructure_key = !current_.escrow->wrapped_infrastructure_key.empty();
    }
  }
  status.void_platform_key = current_.secrets.void_platform_key;
  status.last_update = current_.secrets.last_update;
  status.last_update_status = status.last_update ? "Succeeded" : "None";
  if (looked_at_ == current_.active_slot().name()) {
    status.expiry = expiry_to_tell(looked_at_, expires_, context_.env.clock().now().seconds());
  }
  status.suite = header_.suite;
  status.keyring_generation = current_.generation;
  status.current_epoch = current_.secrets.epochs.rbegin()->first;
  status.fingerprint = {status.current_epoch, fingerprints_.at(status.current_epoch)};
  return status;
}

Result<Digest> KeyringCustody::fingerprint_of(EpochNumber epoch) {
  const MutexLock lock(state_mutex_);
  const auto known = fingerprints_.find(epoch);
  if (known != fingerprints_.end()) return known->second;
  const auto& epochs = current_.secrets.epochs;
  const auto found = epochs.find(epoch);
  if (found == epochs.end()) {
    return Error{ErrorCode::NotFound, "the keyring has no DEK epoch " + std::to_string(epoch.value)};
  }
  if (current_.secrets.root_key.empty() || found->second.dek.empty()) {
    return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const Digest digest,
                           epoch_fingerprint(current_.secrets.root_key, found->second.dek, header_.id, epoch));
  fingerprints_.emplace(epoch, digest);
  return digest;
}

Result<SecretBuffer> KeyringCustody::root_key_for(std::string_view label) const {
  const MutexLock lock(state_mutex_);
  if (current_.secrets.root_key.empty()) {
    return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
  }
  return hkdf_sha256(current_.secrets.root_key.view(), {}, bytes_of(label), Digest::kSize);
}

Result<Digest> KeyringCustody::root_mac(std::string_view label, ByteView message) const {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key, root_key_for(label));
  return hmac_sha256(key.view(), {message});
}

Status KeyringCustody::check_descends_from(Generation generation, const Digest& digest) const {
  Generation at;
  Digest expected;
  Digest predecessor;
  {
    const MutexLock lock(state_mutex_);
    at = current_.generation;
    expected = digest_;
    predecessor = current_.predecessor;
  }
  const Error older{ErrorCode::RollbackDetected,
                    "the newest keyring is not the one that the vault's head names, nor a "
                    "successor of it: an older copy was put back"};
  if (generation > at || generation.value == 0) return older;
  while (at > generation) {
    at = Generation(at.value - 1);
    expected = predecessor;
    if (at == generation) break;
    VAULTFS_ASSIGN_OR_RETURN(const Bytes file, context_.blobs.get(keyring_blob_name(at), kMaxKeyringBytes));
    if (sha256(file) != expected) return older;
    VAULTFS_ASSIGN_OR_RETURN(const ClosedKeyring closed, ClosedKeyring::decode(file));
    predecessor = closed.predecessor;
  }
  return expected == digest ? ok_status() : Status(older);
}

KeyringCustody::Snapshot KeyringCustody::snapshot() const {
  const MutexLock lock(state_mutex_);
  return {current_.generation,       current_.active_slot(), current_.slots,
          current_.secrets.settings, current_.secrets.rule,  current_.secrets.escrow};
}

bool KeyringCustody::sealed() const {
  const MutexLock lock(state_mutex_);
  return keyring_key_.empty();
}

Status KeyringCustody::check_changeable() const {
  if (read_only_) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  if (sealed()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
  return ok_status();
}

Error KeyringCustody::note_trouble(const Error& error) {
  const std::int64_t now = context_.env.clock().monotonic_nanos();
  const MutexLock lock(state_mutex_);
  std::int64_t& since = is_revocation(error.code) ? denied_since_ : unreachable_since_;
  if (since == 0) since = now;
  // An outage does not make a refusal that came before it undone: its grace runs on.
  if (access_ != KeyAccess::sealed) access_ = denied_since_ != 0 ? KeyAccess::denied : KeyAccess::unreachable;
  problem_ = error;
  return error;
}

void KeyringCustody::note_access() {
  bool healed = false;
  {
    const MutexLock lock(state_mutex_);
    // Keys that a deadline wiped while the provider answered come back with the next refresh.
    if (keyring_key_.empty()) return;
    healed = access_ == KeyAccess::sealed;
    access_ = KeyAccess::available;
    problem_.reset();
    denied_since_ = 0;
    unreachable_since_ = 0;
  }
  if (!healed) return;
  // The audit log is a record, not a condition: a full disk must not keep a vault sealed.
  const Status ignored = context_.machine.audit("vault.healed", "vault " + to_hex(header_.id.view()));
  static_cast<void>(ignored);
}

bool KeyringCustody::deadline_passed() const {
  const std::int64_t now = context_.env.clock().monotonic_nanos();
  const EncryptionSettings& settings = current_.secrets.settings;
  const auto passed = [now](std::int64_t since, std::uint32_t seconds) {
    return since != 0 && now - since >= std::int64_t{seconds} * kNanosPerSecond;
  };
  return passed(denied_since_, settings.revocation_grace_seconds) ||
         passed(unreachable_since_, settings.outage_ttl_seconds);
}

bool KeyringCustody::enforce_deadlines(const std::function<void()>& before_wipe) {
  {
    const MutexLock lock(state_mutex_);
    if (access_ == KeyAccess::sealed) return true;
    if (!deadline_passed()) return false;
  }
  if (before_wipe) before_wipe();
  std::string why;
  {
    // With the write lock no keyring is half way between storage and memory.
    const MutexLock write_lock(write_mutex_);
    const MutexLock lock(state_mutex_);
    // Closing took its time: access may be back.
    if (!deadline_passed()) return access_ == KeyAccess::sealed;
    current_.secrets.wipe_keys();
    keyring_key_.reset();
    infrastructure_key_.reset();
    keys_.wipe();
    access_ = KeyAccess::sealed;
    if (!problem_) problem_ = Error{ErrorCode::KeyRevoked, "the vault was sealed"};
    why = std::string(error_name(problem_->code)) + ": " + problem_->message;
  }
  const Status ignored = context_.machine.audit("vault.sealed", "vault " + to_hex(header_.id.view()) + ": " + why);
  static_cast<void>(ignored);  // sealing does not depend on its record
  return true;
}

}  // namespace vaultfs
