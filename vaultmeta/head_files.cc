#include "vaultmeta/head_files.h"

#include <algorithm>

#include "crypto/hash.h"
#include "vaultmeta/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::string_view kRootLabel = "vaultfs/1 head mac";
constexpr std::string_view kEpochLabel = "vaultfs/1 head epoch";

Result<Head::Signed> read_head(BlobStore& blobs, KeyCustody& custody, Generation generation) {
  VAULTFS_ASSIGN_OR_RETURN(const Head::Signed stored, read_head_form(blobs, custody.keys().vault(), generation));
  VAULTFS_ASSIGN_OR_RETURN(const Digest mac, head_mac(custody, stored.head));
  if (!constant_time_equal(mac.view(), stored.mac.view())) {
    return Error{ErrorCode::DamagedHead, kHeadFiles.file(generation.value) + " is not authentic"};
  }
  return stored;
}

}  // namespace

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

Result<Digest> head_mac(KeyCustody& custody, const Head& head) {
  VAULTFS_ASSIGN_OR_RETURN(const Digest root, custody.root_mac(kRootLabel, head.encode()));
  return custody.keys().with_dek(head.epoch, [&](const EpochKeys::Epoch& epoch) -> Result<Digest> {
    VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key,
                             hkdf_sha256(epoch.dek.view(), head.vault.view(), bytes_of(kEpochLabel), Digest::kSize));
    return hmac_sha256(key.view(), {root.view()});
  });
}

Result<StoredHeads> read_heads(BlobStore& blobs, KeyCustody& custody) {
  VAULTFS_ASSIGN_OR_RETURN(auto numbers, list_numbers(blobs, kHeadFiles));
  StoredHeads heads;
  std::reverse(numbers.begin(), numbers.end());
  if (!numbers.empty()) heads.highest_file = Generation(numbers.front());
  for (const std::uint64_t number : numbers) {
    auto head = read_head(blobs, custody, Generation(number));
    if (head.ok()) {
      heads.newest_first.push_back(*head);
      continue;
    }
    // A head has no digest that tells damage from a newer format; header and keyring have said already that this is
    // ours.
    if (head.code() == ErrorCode::KeyRevoked || head.code() == ErrorCode::MemoryLockFailed)
      return std::move(head).error();
    if (!heads.damage.has_value()) {
      heads.damaged_file = Generation(number);
      heads.damage = Error{ErrorCode::DamagedHead, head.error().message};
    }
  }
  return heads;
}

Result<Head::Signed> newest_head(const StoredHeads& heads, const Pin* pin, bool accept_older,
                                 std::vector<std::string>& notes) {
  const Generation pinned = pin == nullptr ? Generation{} : pin->head_generation;
  auto chosen = choose_head(heads.newest_first, pinned, pin == nullptr ? Digest{} : pin->head_digest);
  // Whatever stands behind a head that the pin leads to, and is no head itself, could be there by its name alone.
  if (chosen.ok()) return chosen;
  // A damaged file that hides the newest state is named as what it is. An older one only shortens the history.
  if (!accept_older) {
    if (heads.damage.has_value() && heads.damaged_file >= pinned) return *heads.damage;
    const bool cut_off = pin != nullptr && !chosen.ok() && !heads.damage.has_value() &&
                         history_is_cut_off(heads.newest_first, pinned, pin->incarnation);
    if (cut_off) {
      return Error{ErrorCode::PinOutdated,
                   "this machine has last seen head " + std::to_string(pinned.value) + " of the vault; its newest, " +
                       std::to_string(heads.newest_first.front().head.generation.value) +
                       ", is genuine and newer, but the heads between are no longer kept, so nothing shows that one "
                       "leads to the other; compare the root key's fingerprint and run 'vaultctl vault trust VAULT "
                       "--fingerprint F'"};
    }
    return chosen;
  }
  if (heads.newest_first.empty()) return heads.damage.has_value() ? Result<Head::Signed>(*heads.damage) : chosen;
  notes.push_back("an older state than this machine has seen was accepted: head " +
                  std::to_string(heads.newest_first.front().head.generation.value) + ", pinned is " +
                  std::to_string(pinned.value));
  return heads.newest_first.front();
}

Result<Head::Signed> put_head(BlobStore& blobs, KeyCustody& custody, const Head& head) {
  Head::Signed stored;
  stored.head = head;
  VAULTFS_ASSIGN_OR_RETURN(stored.mac, head_mac(custody, head));
  Bytes file = head.encode();
  file.insert(file.end(), stored.mac.view().begin(), stored.mac.view().end());
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
