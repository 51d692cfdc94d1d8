#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <set>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "vaultmeta/keys/custody_impl.h"

// Writing keyrings. A change commits when its keyring is durable; the head follows. At most one generation is ever
// beyond the newest head (a write first writes the head), so that one step of predecessors leads from any head to the
// keyring.

namespace vaultfs {

std::vector<RegisteredKey> needed_keys(const std::vector<VersionRecord>& versions) {
  std::vector<RegisteredKey> needed;
  for (const VersionRecord& record : versions) {
    if (record.role == VersionRole::retired || record.key_vault.empty()) continue;
    needed.push_back({record.key_vault, record.key, record.version});
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  return needed;
}

// The machine's list names every version of a keyring before that keyring is durable: a vault whose disk is away must
// not lose a version because nobody knew that it needs it. It only grows here; an attempt before may have left a
// keyring of unknown fate.
Status KeyringCustody::register_before_commit(const Keyring& next) {
  return register_needed(needed_keys(next.secrets.rule.versions()));
}

Status KeyringCustody::register_needed(const std::vector<RegisteredKey>& added) {
  return context_.machine.change_registration(header_.id, context_.place, [&added](Registration& registration) {
    if (!registration.needed) return;  // any version may be among them: that covers these too
    std::vector<RegisteredKey> all;
    std::set_union(registration.needed->begin(), registration.needed->end(), added.begin(), added.end(),
                   std::back_inserter(all));
    registration.needed = std::move(all);
  });
}

Result<WrappedKey> KeyringCustody::wrap_registered(const RegisteredKey& version,
                                                   const std::function<Result<WrappedKey>()>& wrap) {
  bool is_new = false;
  VAULTFS_RETURN_IF_ERROR(context_.machine.change_registration(header_.id, context_.place, [&](Registration& own) {
    if (!own.needed || std::ranges::find(*own.needed, version) != own.needed->end()) return;
    is_new = true;
    own.needed->insert(std::ranges::upper_bound(*own.needed, version), version);
  }));
  Result<WrappedKey> wrapped = wrap();
  if (wrapped.ok() || !is_new) return wrapped;
  // What can't be taken back only makes a withdrawal harder; why the proof failed says more.
  static_cast<void>(context_.machine.change_registration(header_.id, context_.place, [&](Registration& own) {
    if (own.needed) std::erase(*own.needed, version);
  }));
  return wrapped;
}

// The machine's list of vaults tells the newest settings, and no version that the vault needs no more.
Status KeyringCustody::update_registration() {
  const Snapshot now = snapshot();
  // A version whose epoch is still being closed is needed, too.
  const std::vector<RegisteredKey> needed = needed_keys(status().versions);
  return context_.machine.change_registration(header_.id, context_.place, [&](Registration& registration) {
    registration.key_vault = now.settings.key_vault;
    registration.key = now.settings.key;
    registration.needed = needed;
    registration.identity = now.settings.identity;
  });
}

Result<KeyringCustody::EpochMap> KeyringCustody::epoch_material(const KeyringSecrets& secrets) {
  EpochMap epochs;
  for (const auto& [number, epoch] : secrets.epochs) {
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, epoch.dek.clone());
    epochs.emplace(number, EpochKeys::Epoch{std::move(dek), epoch.last_segment});
  }
  return epochs;
}

Result<VaultFingerprint> KeyringCustody::newest_fingerprint(const Keyring& keyring) {
  const auto& [number, epoch] = *keyring.secrets.epochs.rbegin();
  VAULTFS_ASSIGN_OR_RETURN(const Digest digest,
                           epoch_fingerprint(keyring.secrets.root_key, epoch.dek, keyring.vault, number));
  return VaultFingerprint{number, digest};
}

// A later event is not earlier than what is known already. A clock that has gone back can't tell how much later.
RotationRule::Moment KeyringCustody::moment() const {
  const UnixNanos now = context_.env.clock().now();
  UnixNanos known = header_.created;
  KeyChangeHost* host = nullptr;
  {
    const MutexLock lock(state_mutex_);
    const KeyringSecrets& secrets = current_.secrets;
    known = std::max(known, secrets.rule.newest_time());
    for (const auto& [number, epoch] : secrets.epochs) known = std::max(known, epoch.created);
    if (secrets.escrow) known = std::max(known, secrets.escrow->since);
    if (secrets.last_update) known = std::max(known, secrets.last_update->time);
    host = host_;
  }
  if (host != nullptr) known = std::max(known, host->newest_time());
  return {std::max(now, known), Generation(), now < known};
}

Status KeyringCustody::commit(const Edit& edit, const Commit& how) {
  std::optional<KeyUpdate> update;
  if (how.update) {
    KeyChangeHost* host = nullptr;
    {
      const MutexLock lock(state_mutex_);
      host = host_;
    }
    if (host == nullptr) std::abort();  // a key change before attach()
    update = KeyUpdate{host->next_job(), how.update->first, how.update->second, moment().time};
  }
  for (;;) {
    if (how.needs_head) VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
    VAULTFS_ASSIGN_OR_RETURN(const bool written, write_next(edit, how, update));
    if (written) return ok_status();
  }
}

// False if the head has to be written first.
Result<bool> KeyringCustody::write_next(const Edit& edit, const Commit& how, const std::optional<KeyUpdate>& update) {
  const MutexLock write_lock(write_mutex_);
  Keyring next;
  SecretBuffer current_key;
  InfrastructureKey infrastructure{PlatformKeyId(header_.infrastructure_key_id), {}};
  {
    const MutexLock lock(state_mutex_);
    if (keyring_key_.empty()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its keys can't be changed"};
    if (how.needs_head && headed_ < current_.generation) return false;
    if (how.expected && *how.expected != current_.generation) {
      return Error{ErrorCode::TryAgain, "the keyring was changed meanwhile"};
    }
    VAULTFS_ASSIGN_OR_RETURN(next, current_.clone());
    VAULTFS_ASSIGN_OR_RETURN(current_key, keyring_key_.clone());
    if (!infrastructure_key_.empty()) {
      VAULTFS_ASSIGN_OR_RETURN(infrastructure.key, infrastructure_key_.clone());
    }
    next.predecessor = digest_;
  }
  const Generation before = next.generation;
  const std::vector<RegisteredKey> needed_before = needed_keys(next.secrets.rule.versions());
  next.generation = before.next();
  VAULTFS_RETURN_IF_ERROR(edit(next, current_key));
  if (update) next.secrets.last_update = update;
  const bool other_keys = needed_keys(next.secrets.rule.versions()) != needed_before;
  if (other_keys) VAULTFS_RETURN_IF_ERROR(register_before_commit(next));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, how.new_key != nullptr ? how.new_key->clone() : current_key.clone());
  for (KeyringSlot& slot : next.slots) {
    if (slot.role != VersionRole::retiring) continue;
    const auto older = next.secrets.retiring_keys.find(slot.name());
    if (older == next.secrets.retiring_keys.end()) std::abort();  // an edit forgot it
    VAULTFS_ASSIGN_OR_RETURN(slot.link, seal_link(next.vault, next.generation, slot, older->second, key));
  }
  VAULTFS_RETURN_IF_ERROR(rewrap_escrow_slot(next, key, how.new_key != nullptr, infrastructure));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, next.seal(key));
  // Everything that may fail is done before the write: what is durable has to be taken over.
  VAULTFS_ASSIGN_OR_RETURN(EpochMap epochs, epoch_material(next.secrets));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer id_key, next.secrets.id_key.clone());
  VAULTFS_ASSIGN_OR_RETURN(const VaultFingerprint newest, newest_fingerprint(next));
  VAULTFS_RETURN_IF_ERROR(clear_doubt(before));
  VAULTFS_RETURN_IF_ERROR(store_keyring(next.generation, file));

  {
    const MutexLock lock(state_mutex_);
    current_ = std::move(next);
    keyring_key_ = std::move(key);
    digest_ = sha256(file);
    older_form_ = false;
    fingerprints_.insert_or_assign(newest.epoch, newest.digest);
    rule_dirty_ = false;
    leftovers_possible_ = true;
    keys_.set(std::move(epochs), std::move(id_key), std::move(infrastructure.key));
  }
  // Too long a list protects too much, which the next opening corrects.
  if (other_keys) static_cast<void>(update_registration());
  return true;
}

// Whether the opening has passed a keyring file over, or it is not this vault's.
Result<bool> KeyringCustody::is_strange(const std::string& name) const {
  SecretBuffer root_key;
  {
    const MutexLock lock(state_mutex_);
    for (const auto& [file, error] : passed_over_) {
      if (file == name) return true;
    }
    VAULTFS_ASSIGN_OR_RETURN(root_key, current_.secrets.root_key.clone());
  }
  const auto file = context_.blobs.get(name, kMaxKeyringBytes);
  if (!file.ok()) return file.code() != ErrorCode::NotFound;
  return !check_keyring_mac(*file, root_key).ok();
}

Status KeyringCustody::store_keyring(Generation generation, ByteView bytes) {
  const std::string name = keyring_blob_name(generation);
  Status stored = context_.blobs.put(name, bytes);
  if (!stored.ok() && stored.code() == ErrorCode::AlreadyExists) {
    // What somebody put there, and the opening has passed over.
    VAULTFS_ASSIGN_OR_RETURN(const bool strange, is_strange(name));
    if (strange) {
      VAULTFS_RETURN_IF_ERROR(context_.blobs.set_aside(name));
      stored = context_.blobs.put(name, bytes);
    }
  }
  if (stored.ok()) {
    const auto read_back = context_.blobs.get(name, kMaxKeyringBytes);
    if (!read_back.ok()) {
      stored = read_back.error();
    } else if (!bytes_equal(*read_back, bytes)) {
      stored = Error{ErrorCode::DamagedKeyring, "storage gives back another keyring than was written"};
    }
  } else if (stored.code() == ErrorCode::AlreadyExists) {
    return Error{ErrorCode::RefusedOverwrite, name + " is there already, but the vault's owner did not write it"};
  }
  if (stored.ok()) return ok_status();
  // The keyring may be there nevertheless (its directory could not be synced). Nothing else may be built upon this
  // generation until it is gone; a crash before that opens with it, which is as good as without.
  in_doubt_ = !context_.blobs.remove(name).ok();
  return with_context(std::move(stored).error(), "writing " + name);
}

Status KeyringCustody::clear_doubt(Generation current) {
  if (!in_doubt_) return ok_status();
  VAULTFS_RETURN_IF_ERROR(context_.blobs.remove(keyring_blob_name(current.next())));
  in_doubt_ = false;
  return ok_status();
}

Status KeyringCustody::write_head_if_behind() {
  KeyChangeHost* host = nullptr;
  Generation named;
  {
    const MutexLock lock(state_mutex_);
    if (headed_ >= current_.generation) return ok_status();
    named = current_.generation;
    host = host_;
  }
  if (host == nullptr) std::abort();  // a key change before attach()
  VAULTFS_RETURN_IF_ERROR(host->write_head());
  const MutexLock lock(state_mutex_);
  headed_ = std::max(headed_, named);
  return ok_status();
}

// Superseded keyrings go once the head is written. The predecessor stays, for a copy that is being taken, unless it has
// a slot for a version that the vault needs no more, or for an escrow key that is its recipient no more.
Status KeyringCustody::delete_superseded() {
  const MutexLock write_lock(write_mutex_);
  Generation current;
  std::set<VersionName> needed;
  std::optional<Digest> escrow;
  {
    const MutexLock lock(state_mutex_);
    if (!leftovers_possible_ || headed_ < current_.generation) return ok_status();
    current = current_.generation;
    for (const KeyringSlot& slot : current_.slots) needed.insert(slot.name());
    if (current_.escrow) escrow = current_.escrow->fingerprint;
  }
  const auto harmless = [&](const std::string& name) {
    const auto bytes = context_.blobs.get(name, kMaxKeyringBytes);
    if (!bytes.ok()) return false;
    const auto closed = ClosedKeyring::decode(*bytes);
    if (!closed.ok()) return false;
    for (const KeyringSlot& slot : closed->slots) {
      if (!needed.contains(slot.name())) return false;
    }
    return !closed->escrow || closed->escrow->fingerprint == escrow;
  };
  VAULTFS_ASSIGN_OR_RETURN(const auto names, context_.blobs.list(kKeyringFolder));
  for (const std::string& file : names) {
    const auto number = number_of(file, kKeyringExtension);
    if (!number || *number >= current.value) continue;
    const std::string name = keyring_blob_name(Generation(*number));
    if (*number + 1 == current.value && harmless(name)) continue;
    VAULTFS_RETURN_IF_ERROR(context_.blobs.remove(name));
  }
  const MutexLock lock(state_mutex_);
  leftovers_possible_ = false;
  return ok_status();
}

// The platform key that a customer-managed one took the place of, once head and pin have left it behind. It comes back
// by an old recovery file, and goes again.
Status KeyringCustody::delete_void_platform_key() {
  std::optional<PlatformKeyId> id;
  {
    const MutexLock lock(state_mutex_);
    if (headed_ >= current_.generation) id = current_.secrets.void_platform_key;
  }
  if (!id || *id == PlatformKeyId(header_.infrastructure_key_id)) return ok_status();
  Status removed = context_.platform_keys.remove(*id);
  if (removed.ok() || removed.code() == ErrorCode::PlatformKeyMissing) return ok_status();
  return with_context(std::move(removed).error(), "deleting the platform key " + to_hex(id->view()) +
                                                      ", which opens nothing any more; the next refresh tries again");
}

// Writes down from which LSN the newest version is in effect. It is read after the keyring became durable: a job that
// began before that has a lower one and does not count.
Status KeyringCustody::record_effect() {
  KeyChangeHost* host = nullptr;
  bool recorded = false;
  {
    const MutexLock lock(state_mutex_);
    host = host_;
    recorded = !rule_dirty_ && current_.secrets.rule.active()->took_effect_lsn != VersionRecord::kNotInEffect;
  }
  if (recorded) return ok_status();
  const Lsn now = host->next_lsn();
  VAULTFS_RETURN_IF_ERROR(commit(
      [now](Keyring& next, const SecretBuffer&) {
        next.secrets.rule.record_effect(now);
        return ok_status();
      },
      {}));
  return write_head_if_behind();
}

}  // namespace vaultfs
