#include "vaultmeta/keys/keyring_file.h"

#include <algorithm>
#include <cstdlib>

#include "crypto/hash.h"

namespace vaultfs {
namespace {

// Why the machine's infrastructure key can't be had, with what else brings it back.
Error missing_infrastructure_key(Error why, const std::optional<EscrowSlot>& escrow) {
  if (why.code != ErrorCode::PlatformKeyMissing || !escrow || escrow->wrapped_infrastructure_key.empty()) return why;
  why.message += ", or from its escrow key: vaultctl vault recover VAULT --escrow-key-file FILE --key KEYREF";
  return why;
}

// Every keyring passes here before it is sealed: no change of keys can forget the recipient. What it is wrapped for is
// the key inside the keyring that was opened, never one that storage names. A slot of before the infrastructure key had
// a place in it is made anew.
Status rewrap_escrow_slot(Keyring& next, const SecretBuffer& key, bool fresh_key,
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

}  // namespace

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

// The machine's list of vaults tells the newest settings, and no version that the vault needs no more.
Status KeyringFile::update_registration() {
  const HeldKeys::Snapshot now = held_.snapshot();
  // A version whose epoch is still being closed is needed, too.
  return listed_.replace(now.settings.key_vault, now.settings.key, now.settings.identity,
                         needed_keys(held_.status().versions));
}

// A later event is not earlier than what is known already. A clock that has gone back can't tell how much later.
RotationRule::Moment KeyringFile::moment() const {
  const UnixNanos now = context_.env.clock().now();
  UnixNanos known = held_.newest_time();
  KeyChangeHost* const host = host_;
  if (host != nullptr) known = std::max(known, host->newest_time());
  return {std::max(now, known), Generation(), now < known};
}

Status KeyringFile::commit(const Edit& edit, const Commit& how) {
  std::optional<KeyUpdate> update;
  if (how.update) {
    update = KeyUpdate{host().next_job(), how.update->first, how.update->second, moment().time};
  }
  for (;;) {
    if (how.needs_head) VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
    VAULTFS_ASSIGN_OR_RETURN(const bool written, write_next(edit, how, update));
    if (written) return ok_status();
  }
}

// False if the head has to be settled first.
Result<bool> KeyringFile::write_next(const Edit& edit, const Commit& how, const std::optional<KeyUpdate>& update) {
  const MutexLock write_lock(write_mutex_);
  VAULTFS_ASSIGN_OR_RETURN(std::optional<HeldKeys::Next> begun, held_.begin_next(how.needs_head, how.expected));
  if (!begun) return false;
  Keyring& next = begun->keyring;
  const SecretBuffer& current_key = begun->key;
  InfrastructureKey infrastructure{PlatformKeyId(header_.infrastructure_key_id), std::move(begun->infrastructure_key)};
  const Generation before = next.generation;
  const std::vector<RegisteredKey> needed_before = needed_keys(next.secrets.rule.versions());
  next.generation = before.next();
  VAULTFS_RETURN_IF_ERROR(edit(next, current_key));
  if (update) next.secrets.last_update = update;
  const bool other_keys = needed_keys(next.secrets.rule.versions()) != needed_before;
  // The machine's list names every version of a keyring before that keyring is durable: a vault whose disk is away must
  // not lose a version because nobody knew that it needs it. It only grows here; an attempt before may have left a
  // keyring of unknown fate.
  if (other_keys) VAULTFS_RETURN_IF_ERROR(listed_.add(needed_keys(next.secrets.rule.versions())));
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
  VAULTFS_ASSIGN_OR_RETURN(KeyMaterial material, KeyMaterial::of(next));
  VAULTFS_RETURN_IF_ERROR(clear_doubt(before));
  VAULTFS_RETURN_IF_ERROR(store_keyring(next.generation, file));
  held_.take_over(std::move(next), std::move(key), std::move(infrastructure.key), sha256(file), std::move(material));
  // Too long a list protects too much, which the next opening corrects.
  if (other_keys) static_cast<void>(update_registration());
  return true;
}

// Whether the opening has passed a keyring file over, or it is not this vault's.
Status KeyringFile::check_changeable() const {
  if (read_only_) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  return held_.check_open();
}

KeyChangeHost& KeyringFile::host() const {
  KeyChangeHost* const host = host_;
  if (host == nullptr) std::abort();  // a key change before attach()
  return *host;
}

Result<bool> KeyringFile::is_strange(const std::string& name) const {
  if (held_.has_passed_over(name)) return true;
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer root_key, held_.root_key());
  const auto file = context_.blobs.get(name, kMaxKeyringBytes);
  if (!file.ok()) return file.code() != ErrorCode::NotFound;
  return !check_keyring_mac(*file, root_key).ok();
}

Status KeyringFile::store_keyring(Generation generation, ByteView bytes) {
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

Status KeyringFile::clear_doubt(Generation current) {
  if (!in_doubt_) return ok_status();
  VAULTFS_RETURN_IF_ERROR(context_.blobs.remove(keyring_blob_name(current.next())));
  in_doubt_ = false;
  return ok_status();
}

Status KeyringFile::write_head_if_behind() {
  const std::optional<Generation> unnamed = held_.unnamed();
  if (!unnamed) return ok_status();
  VAULTFS_RETURN_IF_ERROR(host().write_head());
  held_.named(*unnamed);
  return ok_status();
}

// Superseded keyrings go once the head is written. The predecessor stays, for a copy that is being taken, unless it has
// a slot for a version that the vault needs no more, or for an escrow key that is its recipient no more.
Status KeyringFile::delete_superseded() {
  const MutexLock write_lock(write_mutex_);
  const std::optional<HeldKeys::Leftovers> now = held_.leftovers();
  if (!now) return ok_status();
  const auto harmless = [&](const std::string& name) {
    const auto bytes = context_.blobs.get(name, kMaxKeyringBytes);
    if (!bytes.ok()) return false;
    const auto closed = ClosedKeyring::decode(*bytes);
    if (!closed.ok()) return false;
    for (const KeyringSlot& slot : closed->slots) {
      if (!now->needed.contains(slot.name())) return false;
    }
    return !closed->escrow || closed->escrow->fingerprint == now->escrow;
  };
  VAULTFS_ASSIGN_OR_RETURN(const auto names, context_.blobs.list(kKeyringFolder));
  for (const std::string& file : names) {
    const auto number = number_of(file, kKeyringExtension);
    if (!number || *number >= now->current.value) continue;
    const std::string name = keyring_blob_name(Generation(*number));
    if (*number + 1 == now->current.value && harmless(name)) continue;
    VAULTFS_RETURN_IF_ERROR(context_.blobs.remove(name));
  }
  held_.no_leftovers();
  return ok_status();
}

Status KeyringFile::adopt(OpenedKeyring opened) {
  SecretBuffer infrastructure_copy;
  if (header_.suite == Suite::aes_gcm_in_xchacha) {
    if (opened.infrastructure_key.empty()) {
      auto here = context_.platform_keys.load(PlatformKeyId(header_.infrastructure_key_id));
      if (!here.ok()) return missing_infrastructure_key(std::move(here).error(), opened.keyring.escrow);
      opened.infrastructure_key = std::move(here).value();
    }
    VAULTFS_ASSIGN_OR_RETURN(infrastructure_copy, opened.infrastructure_key.clone());
  }
  VAULTFS_ASSIGN_OR_RETURN(KeyMaterial material, KeyMaterial::of(opened.keyring));
  const MutexLock write_lock(write_mutex_);
  held_.adopt(std::move(opened), std::move(infrastructure_copy), std::move(material));
  return ok_status();
}

Status KeyringFile::check_descends_from(Generation generation, const Digest& digest) const {
  auto [at, expected, predecessor] = held_.place();
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

std::optional<std::string> KeyringFile::wipe_if_over() {
  const MutexLock write_lock(write_mutex_);
  return held_.wipe_if_over();
}

Status KeyringFile::remove_doubtful() {
  const MutexLock write_lock(write_mutex_);
  return clear_doubt(held_.place().generation);
}

}  // namespace vaultfs
