#include "vaultmeta/keys/held_keys.h"

#include <algorithm>

#include "crypto/hash.h"

namespace vaultfs {
namespace {

std::string full_name(const VersionRecord& record) {
  if (record.key_vault.empty()) return record.version;
  return record.key_vault + "/" + record.key + "/" + record.version;
}

Error sealed_error() { return {ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"}; }

}  // namespace

Result<KeyMaterial> KeyMaterial::of(const Keyring& keyring) {
  KeyMaterial material;
  for (const auto& [number, epoch] : keyring.secrets.epochs) {
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, epoch.dek.clone());
    material.epochs.emplace(number, EpochKeys::Epoch{std::move(dek), epoch.last_segment});
  }
  VAULTFS_ASSIGN_OR_RETURN(material.id_key, keyring.secrets.id_key.clone());
  const auto& [number, epoch] = *keyring.secrets.epochs.rbegin();
  VAULTFS_ASSIGN_OR_RETURN(const Digest digest,
                           epoch_fingerprint(keyring.secrets.root_key, epoch.dek, keyring.vault, number));
  material.newest = {number, digest};
  return material;
}

HeldKeys::Place HeldKeys::place() const {
  const MutexLock lock(mutex_);
  return {current_.generation, digest_, current_.predecessor};
}

KeyCustody::PassedOver HeldKeys::passed_over() const {
  const MutexLock lock(mutex_);
  return passed_over_;
}

bool HeldKeys::has_passed_over(const std::string& file) const {
  const MutexLock lock(mutex_);
  return std::ranges::any_of(passed_over_, [&file](const auto& one) { return one.first == file; });
}

std::uint64_t HeldKeys::incarnation() const {
  const MutexLock lock(mutex_);
  return current_.secrets.incarnation;
}

EncryptionStatus HeldKeys::status() const {
  const MutexLock lock(mutex_);
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
  status.access = access_.access();
  status.problem = access_.problem();
  status.unmet = unmet_;
  for (const VersionRecord& record : status.versions) {
    if (status.problem || !record.disabled_too_early) continue;
    status.problem =
        Error{ErrorCode::KeyVersionDisabledTooEarly,
              "the Retiring version " + full_name(record) +
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
    status.expiry = expiry_to_tell(looked_at_, expires_, clock_.now().seconds());
  }
  status.suite = header_.suite;
  status.keyring_generation = current_.generation;
  status.current_epoch = current_.secrets.epochs.rbegin()->first;
  status.fingerprint = {status.current_epoch, fingerprints_.at(status.current_epoch)};
  return status;
}

Result<Digest> HeldKeys::fingerprint_of(EpochNumber epoch) {
  const MutexLock lock(mutex_);
  const auto known = fingerprints_.find(epoch);
  if (known != fingerprints_.end()) return known->second;
  const auto& epochs = current_.secrets.epochs;
  const auto found = epochs.find(epoch);
  if (found == epochs.end()) {
    return Error{ErrorCode::NotFound, "the keyring has no DEK epoch " + std::to_string(epoch.value)};
  }
  if (current_.secrets.root_key.empty() || found->second.dek.empty()) {
    return sealed_error();
  }
  VAULTFS_ASSIGN_OR_RETURN(const Digest digest,
                           epoch_fingerprint(current_.secrets.root_key, found->second.dek, header_.id, epoch));
  fingerprints_.emplace(epoch, digest);
  return digest;
}

Result<SecretBuffer> HeldKeys::root_key_for(std::string_view label) const {
  const MutexLock lock(mutex_);
  if (current_.secrets.root_key.empty()) {
    return sealed_error();
  }
  return hkdf_sha256(current_.secrets.root_key.view(), {}, bytes_of(label), Digest::kSize);
}

Result<SecretBuffer> HeldKeys::root_key() const {
  const MutexLock lock(mutex_);
  return current_.secrets.root_key.clone();
}

Result<SecretBuffer> HeldKeys::infrastructure_key() const {
  const MutexLock lock(mutex_);
  return infrastructure_key_.clone();
}

HeldKeys::Snapshot HeldKeys::snapshot() const {
  const MutexLock lock(mutex_);
  return {current_.generation,       current_.active_slot(), current_.slots,
          current_.secrets.settings, current_.secrets.rule,  current_.secrets.escrow};
}

std::optional<KeyUpdate> HeldKeys::last_update() const {
  const MutexLock lock(mutex_);
  return current_.secrets.last_update;
}

UnixNanos HeldKeys::newest_time() const {
  UnixNanos known = header_.created;
  const MutexLock lock(mutex_);
  const KeyringSecrets& secrets = current_.secrets;
  known = std::max(known, secrets.rule.newest_time());
  for (const auto& [number, epoch] : secrets.epochs) known = std::max(known, epoch.created);
  if (secrets.escrow) known = std::max(known, secrets.escrow->since);
  if (secrets.last_update) known = std::max(known, secrets.last_update->time);
  return known;
}

bool HeldKeys::of_older_form() const {
  const MutexLock lock(mutex_);
  return older_form_;
}

HeldKeys::Match HeldKeys::match(const SecretBuffer& key) const {
  const MutexLock lock(mutex_);
  if (keyring_key_.empty()) return Match::sealed;
  return constant_time_equal(key.view(), keyring_key_.view()) ? Match::same : Match::other;
}

HeldKeys::Unclosed HeldKeys::unclosed() const {
  Unclosed found;
  const MutexLock lock(mutex_);
  const auto& epochs = current_.secrets.epochs;
  found.any = std::any_of(epochs.begin(), std::prev(epochs.end()),
                          [](const auto& epoch) { return !epoch.second.last_segment.has_value(); });
  for (const VersionRecord& record : current_.secrets.rule.versions()) {
    const auto last = epochs.find(record.last_epoch);
    const bool closing = last != epochs.end() && !last->second.last_segment;
    if (record.role == VersionRole::retired && closing) found.retired.push_back(record.version);
  }
  return found;
}

Result<std::optional<HeldKeys::Next>> HeldKeys::begin_next(bool needs_head, std::optional<Generation> expected) const {
  Next next;
  const MutexLock lock(mutex_);
  if (keyring_key_.empty()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its keys can't be changed"};
  if (needs_head && headed_ < current_.generation) return std::optional<Next>();
  if (expected && *expected != current_.generation) {
    return Error{ErrorCode::TryAgain, "the keyring was changed meanwhile"};
  }
  VAULTFS_ASSIGN_OR_RETURN(next.keyring, current_.clone());
  VAULTFS_ASSIGN_OR_RETURN(next.key, keyring_key_.clone());
  if (!infrastructure_key_.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(next.infrastructure_key, infrastructure_key_.clone());
  }
  next.keyring.predecessor = digest_;
  return std::optional(std::move(next));
}

void HeldKeys::take_over(Keyring keyring, SecretBuffer key, SecretBuffer infrastructure_key, const Digest& digest,
                         KeyMaterial material) {
  const MutexLock lock(mutex_);
  current_ = std::move(keyring);
  keyring_key_ = std::move(key);
  digest_ = digest;
  older_form_ = false;
  fingerprints_.insert_or_assign(material.newest.epoch, material.newest.digest);
  rule_dirty_ = false;
  leftovers_possible_ = true;
  keys_.set(std::move(material.epochs), std::move(material.id_key), std::move(infrastructure_key));
}

void HeldKeys::adopt(OpenedKeyring opened, SecretBuffer infrastructure_copy, KeyMaterial material) {
  const MutexLock lock(mutex_);
  current_ = std::move(opened.keyring);
  keyring_key_ = std::move(opened.key);
  infrastructure_key_ = std::move(opened.infrastructure_key);
  digest_ = opened.digest;
  older_form_ = opened.older_form;
  fingerprints_.insert_or_assign(material.newest.epoch, material.newest.digest);
  passed_over_ = std::move(opened.passed_over);
  keys_.set(std::move(material.epochs), std::move(material.id_key), std::move(infrastructure_copy));
}

std::optional<KeyUpdate> HeldKeys::record_effect(Lsn now) {
  const MutexLock lock(mutex_);
  if (current_.secrets.rule.record_effect(now)) rule_dirty_ = true;
  return current_.secrets.last_update;
}

bool HeldKeys::effect_is_stored() const {
  const MutexLock lock(mutex_);
  return !rule_dirty_ && current_.secrets.rule.active()->took_effect_lsn != VersionRecord::kNotInEffect;
}

std::optional<Generation> HeldKeys::unnamed() const {
  const MutexLock lock(mutex_);
  return headed_ >= current_.generation ? std::nullopt : std::optional(current_.generation);
}

void HeldKeys::named(Generation generation) {
  const MutexLock lock(mutex_);
  headed_ = std::max(headed_, generation);
}

bool HeldKeys::leftovers_possible() const {
  const MutexLock lock(mutex_);
  return leftovers_possible_;
}

std::optional<HeldKeys::Leftovers> HeldKeys::leftovers() const {
  const MutexLock lock(mutex_);
  if (!leftovers_possible_ || headed_ < current_.generation) return std::nullopt;
  Leftovers found{current_.generation, {}, std::nullopt};
  for (const KeyringSlot& slot : current_.slots) found.needed.insert(slot.name());
  if (current_.escrow) found.escrow = current_.escrow->fingerprint;
  return found;
}

void HeldKeys::no_leftovers() {
  const MutexLock lock(mutex_);
  leftovers_possible_ = false;
}

std::optional<PlatformKeyId> HeldKeys::void_platform_key() const {
  const MutexLock lock(mutex_);
  return headed_ >= current_.generation ? current_.secrets.void_platform_key : std::nullopt;
}

Status HeldKeys::check_open() const {
  const MutexLock lock(mutex_);
  return keyring_key_.empty() ? Status(sealed_error()) : ok_status();
}

Error HeldKeys::note_trouble(const Error& error) {
  const std::int64_t now = clock_.monotonic_nanos();
  const MutexLock lock(mutex_);
  access_.trouble(error, now);
  return error;
}

bool HeldKeys::note_access() {
  const MutexLock lock(mutex_);
  // Keys that a deadline wiped while the provider answered come back with the next refresh.
  if (keyring_key_.empty()) return false;
  return access_.available();
}

void HeldKeys::note_unmet(std::vector<Error> unmet) {
  const MutexLock lock(mutex_);
  unmet_ = std::move(unmet);
}

// What cannot be looked at leaves what was seen before.
void HeldKeys::note_expiry(const ReachedKey& reached) {
  if (reached.key_vault == nullptr) return;
  const MutexLock lock(mutex_);
  const VersionName active = current_.active_slot().name();
  const KeyVersionInfo* info = reached.find(active.version);
  if (info == nullptr || !same_version(active, {info->id, reached.key_vault->name(), reached.key})) return;
  looked_at_ = active;
  expires_ = info->expires;
}

bool HeldKeys::deadline_passed() const {
  return access_.deadline_passed(current_.secrets.settings, clock_.monotonic_nanos());
}

HeldKeys::Deadline HeldKeys::deadline() const {
  const MutexLock lock(mutex_);
  if (access_.is_sealed()) return Deadline::sealed;
  return deadline_passed() ? Deadline::over : Deadline::running;
}

std::optional<std::string> HeldKeys::wipe_if_over() {
  const MutexLock lock(mutex_);
  if (!deadline_passed()) return std::nullopt;
  current_.secrets.wipe_keys();
  keyring_key_.reset();
  infrastructure_key_.reset();
  keys_.wipe();
  const Error& why = access_.sealed();
  return std::string(error_name(why.code)) + ": " + why.message;
}

}  // namespace vaultfs
