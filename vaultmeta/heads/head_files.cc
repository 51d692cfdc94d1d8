#include "vaultmeta/heads/head_files.h"

#include <algorithm>
#include <map>
#include <utility>

#include "crypto/hash.h"
#include "vaultmeta/heads/head_pack.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

// By format: a MAC of one never vouches for a head of the other.
std::string_view root_label(const Head& head) {
  return head.format == Head::kFormat1 ? "vaultfs/1 head mac" : "vaultfs/2 head mac";
}
std::string_view epoch_label(const Head& head) {
  return head.format == Head::kFormat1 ? "vaultfs/1 head epoch" : "vaultfs/2 head epoch";
}

// More than a year of openings leaves. Whoever puts old heads back does not fill the memory with them.
constexpr std::size_t kMostHeads = std::size_t{1} << 16;

Result<Head::Signed> read_head(BlobStore& blobs, const VaultId& vault, HeadMacs& macs, Generation generation) {
  VAULTFS_ASSIGN_OR_RETURN(Head::Signed stored, read_head_form(blobs, vault, generation));
  VAULTFS_ASSIGN_OR_RETURN(const bool authentic, macs.are_right(stored));
  if (!authentic) return Error{ErrorCode::DamagedHead, kHeadFiles.file(generation.value) + " is not authentic"};
  stored.body = {};  // the MAC is all that it was for
  return stored;
}

}  // namespace

Result<const SecretBuffer*> HeadMacs::root_key(const Head& head) {
  SecretBuffer& key = root_keys_[head.format];
  if (key.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(key, custody_.root_key_for(root_label(head)));
  }
  return &key;
}

Result<const SecretBuffer*> HeadMacs::epoch_key(const Head& head) {
  const std::pair of(head.format, head.epoch);
  if (const auto known = epoch_keys_.find(of); known != epoch_keys_.end()) return &known->second;
  // Only of an epoch that the keyring has: there are not more of them.
  auto key = custody_.keys().with_dek(head.epoch, [&](const EpochKeys::Epoch& epoch) {
    return hkdf_sha256(epoch.dek.view(), custody_.keys().vault().view(), bytes_of(epoch_label(head)), Digest::kSize);
  });
  if (!key.ok()) return std::move(key).error();
  return &epoch_keys_.emplace(of, std::move(key).value()).first->second;
}

Result<Digest> HeadMacs::mac_of(const Head& head, ByteView body) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer* root, root_key(head));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer* epoch, epoch_key(head));
  return hmac_sha256(epoch->view(), {hmac_sha256(root->view(), {body}).view()});
}

Result<bool> HeadMacs::are_right(const Head::Signed& stored) {
  VAULTFS_ASSIGN_OR_RETURN(const Digest mac, mac_of(stored.head, stored.body));
  return constant_time_equal(mac.view(), stored.mac.view());
}

Result<Head::Signed> read_head_form(BlobStore& blobs, const VaultId& vault, Generation generation) {
  const std::string name = kHeadFiles.file(generation.value);
  auto file = blobs.get(name, kMaxHeadBytes);
  if (!file.ok()) return stored_file_error(std::move(file).error(), ErrorCode::DamagedHead, name);
  auto stored = Head::decode(*file);
  if (!stored.ok()) return with_context(std::move(stored).error(), name);
  if (stored->head.generation != generation || stored->head.vault != vault) {
    return Error{ErrorCode::DamagedHead, name + " belongs elsewhere"};
  }
  return stored;
}

Result<Digest> head_mac(KeyCustody& custody, const Head& head, ByteView body) {
  return HeadMacs(custody).mac_of(head, body);
}

Result<StoredHeads> read_heads(BlobStore& blobs, KeyCustody& custody) {
  VAULTFS_ASSIGN_OR_RETURN(auto numbers, list_numbers(blobs, kHeadFiles));
  StoredHeads heads;
  HeadMacs macs(custody);
  heads.newest_first.reserve(std::min(numbers.size(), kMostHeads));
  std::reverse(numbers.begin(), numbers.end());
  for (const std::uint64_t number : numbers) {
    if (heads.newest_first.size() == kMostHeads) break;
    auto head = read_head(blobs, custody.keys().vault(), macs, Generation(number));
    if (head.ok()) {
      heads.newest_first.push_back(std::move(head).value());
      heads.oldest = Generation(number);
      continue;
    }
    if (head.code() == ErrorCode::KeyRevoked || head.code() == ErrorCode::MemoryLockFailed)
      return std::move(head).error();
    // A head of a newer format, or with a feature that is not known, is no damage: its digest matches.
    const bool newer = head.code() == ErrorCode::UnsupportedFormat;
    if (!heads.damage.has_value()) {
      heads.damaged_file = Generation(number);
      heads.damage = newer ? head.error() : Error{ErrorCode::DamagedHead, head.error().message};
    }
  }
  return heads;
}

Result<Head::Signed> newest_head(BlobStore& blobs, const StoredHeads& heads, const Pin* pin, bool accept_older,
                                 std::vector<std::string>& notes) {
  const Generation pinned = pin == nullptr ? Generation{} : pin->head_generation;
  auto chosen = choose_head(heads.newest_first, pinned, pin == nullptr ? Digest{} : pin->head_digest);
  // Whatever stands behind a head that the pin leads to, and is no head itself, could be there by its name alone. What
  // a newer program wrote there is not passed over: to go on without it would make a branch.
  const bool made_by_newer = heads.damage.has_value() && heads.damage->code == ErrorCode::UnsupportedFormat &&
                             chosen.ok() && heads.damaged_file > chosen->head.generation;
  if (chosen.ok() && !made_by_newer) return chosen;
  // Heads that are no longer kept are known by the packs that the newest one names.
  if (!chosen.ok() && chosen.code() == ErrorCode::RollbackDetected && pin != nullptr && !heads.newest_first.empty() &&
      heads.damaged_file < heads.newest_first.front().head.generation) {
    const Head::Signed& newest = heads.newest_first.front();
    const auto packed = look_up_packed(blobs, newest.head, pinned, pin->head_digest);
    if (!packed.ok() && !accept_older) return packed.error();
    if (packed.ok() && *packed == PackedHistory::continues) return newest;
    if (packed.ok() && *packed == PackedHistory::differs && !accept_older) return chosen;
  }
  // A damaged file that hides the newest state is named as what it is. An older one only shortens the history.
  if (!accept_older) {
    if (heads.damage.has_value() && heads.damaged_file >= pinned) return *heads.damage;
    const bool cut_off = pin != nullptr && !chosen.ok() && !heads.damage.has_value() &&
                         history_is_cut_off(heads.newest_first, pinned, pin->incarnation);
    if (cut_off) {
      return Error{ErrorCode::PinOutdated,
                   "this machine has last seen head " + std::to_string(pinned.value) + " of the vault; its newest, " +
                       std::to_string(heads.newest_first.front().head.generation.value) +
                       ", is newer, but the heads between are no longer kept, so nothing shows that one leads to the "
                       "other; run 'vaultctl vault trust VAULT --fingerprint F' with the newest fingerprint that you "
                       "have kept of it"};
    }
    return chosen;
  }
  if (heads.newest_first.empty()) return heads.damage.has_value() ? Result<Head::Signed>(*heads.damage) : chosen;
  const Generation newest = heads.newest_first.front().head.generation;
  if (newest < pinned) {
    notes.push_back("an older state than this machine has seen was accepted: head " + std::to_string(newest.value) +
                    ", pinned is " + std::to_string(pinned.value));
  } else if (!chosen.ok()) {
    notes.push_back("another branch than this machine has seen was accepted: its newest head is " +
                    std::to_string(newest.value) + ", pinned is " + std::to_string(pinned.value));
  } else {
    notes.push_back("the newest head file is damaged: head " + std::to_string(newest.value) + " was taken");
  }
  return heads.newest_first.front();
}

Result<Head::Signed> put_head(BlobStore& blobs, KeyCustody& custody, const Head& head) {
  Head::Signed stored;
  stored.head = head;
  stored.body = head.encode();
  VAULTFS_ASSIGN_OR_RETURN(stored.mac, head_mac(custody, head, stored.body));
  const Bytes file = Head::file_of(stored.body, head.format, stored.mac);
  stored.file_digest = sha256(file);
  VAULTFS_RETURN_IF_ERROR(blobs.put(kHeadFiles.file(head.generation.value), file));
  return stored;
}

Status check_keyring_against_head(KeyCustody& custody, const Head& head) {
  Status descends = custody.check_descends_from(head.keyring_generation, head.keyring);
  if (!descends.ok()) {
    if (descends.code() != ErrorCode::NotFound) return descends;
    return Error{ErrorCode::KeyringMissing, "a keyring between the newest and the one that the head names is missing"};
  }
  const EpochNumber current_epoch = custody.status().current_epoch;
  const bool same_keyring = custody.generation() == head.keyring_generation;
  if (same_keyring ? head.epoch != current_epoch : head.epoch > current_epoch) {
    return Error{ErrorCode::DamagedHead, "the newest head was not made with the newest epoch of its keyring"};
  }
  return ok_status();
}

}  // namespace vaultfs
