#include "vaultmeta/keys/newest_keyring.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>

#include "crypto/hash.h"
#include "store/record/file_origin.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/machine/vault_place.h"

namespace vaultfs {
namespace {

constexpr int kListAttempts = 5;

// Which keyrings the heads name. Whoever can write to the storage can make a head that names any.
using NamedKeyrings = std::map<Generation, std::set<Digest>>;

Result<NamedKeyrings> keyrings_that_heads_name(BlobStore& blobs, const VaultId& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const auto numbers, list_numbers(blobs, kHeadFiles));
  NamedKeyrings named;
  for (const std::uint64_t number : numbers) {
    const auto head = read_head_form(blobs, vault, Generation(number));
    if (head.ok()) named[head->head.keyring_generation].insert(head->head.keyring);
  }
  return named;
}

bool names(const NamedKeyrings& named, Generation generation, const Digest& digest) {
  const auto found = named.find(generation);
  return found != named.end() && found->second.contains(digest);
}

class KeyringSearch {
 public:
  KeyringSearch(BlobStore& blobs, const VaultId& vault, const Digest& header_digest)
      : blobs_(blobs), vault_(vault), header_digest_(header_digest) {}

  Result<KeyringCandidates> run(const Pin* pin) {
    VAULTFS_ASSIGN_OR_RETURN(auto numbers, list_numbers(blobs_, kKeyringFiles));
    if (numbers.empty()) {
      return Error{ErrorCode::KeyringMissing, "the vault has no keyring; put back keyrings/ from a copy of the vault"};
    }
    std::reverse(numbers.begin(), numbers.end());
    find_vouched_for(pin);
    for (const std::uint64_t number : numbers) {
      const Generation generation(number);
      // Where the keyring that the pinned head names is, or should be, it is never an older one's turn.
      const bool older = vouched_ && generation < vouched_->first;
      if (older && (saw_vouched_ || !candidates_.newest_first.empty())) break;
      if (vouched_ && generation == vouched_->first) saw_vouched_ = true;
      VAULTFS_RETURN_IF_ERROR(consider(generation, number == numbers.front()));
    }
    if (!candidates_.newest_first.empty()) return std::move(candidates_);
    // The one that was named by somebody says more than one that only has the highest number.
    return failure_of_named_ ? *failure_of_named_ : candidates_.passed_over.front().second;
  }

 private:
  void find_vouched_for(const Pin* pin) {
    if (pin == nullptr || pin->head_generation.value == 0) return;
    const auto head = read_head_form(blobs_, vault_, pin->head_generation);
    if (head.ok() && head->file_digest == pin->head_digest) {
      vouched_.emplace(head->head.keyring_generation, head->head.keyring);
      return;
    }
    const auto numbers = list_numbers(blobs_, kHeadFiles);
    const bool all_lower = numbers.ok() && !numbers->empty() && numbers->back() < pin->head_generation.value;
    candidates_.is_another_history = head.ok() || all_lower;
  }

  Status consider(Generation generation, bool highest) {
    const auto file = read_keyring(blobs_, vault_, header_digest_, generation);
    if (!file.ok()) {
      if (file.code() == ErrorCode::KeyRevoked) return file.error();
      pass_over(generation, file.error());
      if (vouched_ && generation == vouched_->first) failure_of_named_ = file.error();
      if (!failure_of_named_ && named_at_all(generation)) failure_of_named_ = file.error();
      return ok_status();
    }
    const Digest digest = sha256(file->bytes);
    if (vouched_ && std::pair(generation, digest) == *vouched_) {
      candidates_.vouched_for = generation;
      candidates_.newest_first.push_back(generation);
      return ok_status();
    }
    const bool succeeds_vouched =
        vouched_ && generation == vouched_->first.next() && file->closed.predecessor == vouched_->second;
    if (succeeds_vouched || is_named(generation, digest, file->closed) || (highest && no_heads_)) {
      candidates_.newest_first.push_back(generation);
      return ok_status();
    }
    pass_over(generation,
              {ErrorCode::DamagedKeyring, "no head names it, and it is no successor of one that a head names"});
    return ok_status();
  }

  const NamedKeyrings& named() {
    if (!named_) {
      auto found = keyrings_that_heads_name(blobs_, vault_);
      named_ = found.ok() ? std::move(found).value() : NamedKeyrings();
      no_heads_ = named_->empty();
    }
    return *named_;
  }
  bool named_at_all(Generation generation) { return named().contains(generation); }
  bool is_named(Generation generation, const Digest& digest, const ClosedKeyring& closed) {
    return names(named(), generation, digest) || names(named(), Generation(generation.value - 1), closed.predecessor);
  }

  void pass_over(Generation generation, Error why) {
    // Of older ones than one that may be the newest nothing is wanted.
    if (candidates_.newest_first.empty() && candidates_.passed_over.size() < kMostFilesTold)
      candidates_.passed_over.emplace_back(keyring_blob_name(generation), std::move(why));
  }

  BlobStore& blobs_;
  const VaultId& vault_;
  const Digest& header_digest_;
  std::optional<std::pair<Generation, Digest>> vouched_;
  bool saw_vouched_ = false;
  std::optional<NamedKeyrings> named_;
  bool no_heads_ = false;  // nothing can be told from them: the highest number it is
  std::optional<Error> failure_of_named_;
  KeyringCandidates candidates_;
};

// K through a Retiring slot: its older keyring key opens the link.
Result<SecretBuffer> unwrap_by_retiring(const KeyCustody::Context& context, const ClosedKeyring& closed,
                                        const KeyringSlot& slot) {
  ReachedKey reached;
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer older,
                           unwrap_slot(context.resolver, context.platform_keys, closed.vault, slot, reached));
  return open_link(closed.vault, closed.generation, slot, older);
}

Result<SecretBuffer> unwrap_keyring_key(const KeyCustody::Context& context, const ClosedKeyring& closed,
                                        ReachedKey& active, std::optional<Error>& active_trouble) {
  auto key = unwrap_slot(context.resolver, context.platform_keys, closed.vault, closed.active_slot(), active);
  if (key.ok()) return key;
  if (!is_outage(key.code())) return describe_trouble(key.error(), closed.active_slot());
  for (const KeyringSlot& slot : closed.slots) {
    if (slot.role != VersionRole::retiring) continue;
    auto by_retiring = unwrap_by_retiring(context, closed, slot);
    if (!by_retiring.ok()) continue;
    active_trouble = describe_trouble(key.error(), closed.active_slot());
    return by_retiring;
  }
  return describe_trouble(key.error(), closed.active_slot());
}

bool has_epoch(const Keyring& keyring, const std::optional<VaultFingerprint>& wanted) {
  if (!wanted || wanted->epoch.value == 0) return true;
  const auto found = keyring.secrets.epochs.find(wanted->epoch);
  if (found == keyring.secrets.epochs.end()) return false;
  const auto digest = epoch_fingerprint(keyring.secrets.root_key, found->second.dek, keyring.vault, wanted->epoch);
  return digest.ok() && *digest == wanted->digest;
}

Result<OpenedKeyring> open_stored(const KeyCustody::Context& context, const VaultHeader& header,
                                  const StoredKeyring& file, const RsaKey* escrow_key) {
  OpenedKeyring opened;
  if (escrow_key != nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(opened.key, unwrap_by_escrow(header.id, file.closed.escrow, *escrow_key));
  } else {
    VAULTFS_ASSIGN_OR_RETURN(opened.key,
                             unwrap_keyring_key(context, file.closed, opened.active, opened.active_trouble));
  }
  auto keyring = open_keyring(file.bytes, opened.key);
  if (!keyring.ok()) return with_context(std::move(keyring).error(), file.name);
  opened.keyring = std::move(keyring).value();
  // Whoever has the public key can mint a keyring that the KEK unwraps: only the root key proves its origin.
  VAULTFS_ASSIGN_OR_RETURN(const Digest fingerprint, root_fingerprint(opened.keyring.secrets.root_key, header.id));
  if (!constant_time_equal(fingerprint.view(), header.root_fingerprint.view())) {
    return Error{ErrorCode::ForeignRootKey, file.name +
                                                " holds another root key than the vault was created with: it was "
                                                "not written by this vault"};
  }
  const std::optional<EscrowSlot>& escrow = opened.keyring.escrow;
  const bool two_layers = header.suite == Suite::aes_gcm_in_xchacha;
  if (escrow && !escrow->wrapped_infrastructure_key.empty() && !two_layers) {
    return Error{ErrorCode::DamagedKeyring, file.name + " holds an infrastructure key, of which the vault has none"};
  }
  if (escrow_key != nullptr && two_layers) {
    VAULTFS_ASSIGN_OR_RETURN(opened.infrastructure_key,
                             escrowed_infrastructure_key(context.platform_keys, header.id, *escrow,
                                                         PlatformKeyId(header.infrastructure_key_id), *escrow_key));
  }
  opened.digest = sha256(file.bytes);
  opened.older_form = file.closed.of_older_form();
  return opened;
}

}  // namespace

Result<KeyringCandidates> find_keyrings(BlobStore& blobs, const VaultId& vault, const Digest& header_digest,
                                        const Pin* pin) {
  // The owner of a live vault may replace and delete keyrings between our listing and our reading.
  for (int attempt = 1;; ++attempt) {
    auto found = KeyringSearch(blobs, vault, header_digest).run(pin);
    if (found.ok() || found.code() != ErrorCode::KeyringMissing || attempt == kListAttempts) return found;
  }
}

Result<StoredKeyring> read_keyring(BlobStore& blobs, const VaultId& vault, const Digest& header_digest,
                                   Generation generation) {
  StoredKeyring file{keyring_blob_name(generation), {}, {}};
  auto bytes = blobs.get(file.name, kMaxKeyringBytes);
  if (!bytes.ok()) {
    const ErrorCode code = bytes.code() == ErrorCode::NotFound ? ErrorCode::KeyringMissing : ErrorCode::DamagedKeyring;
    return Error{code, file.name + " can't be read: " + bytes.error().message};
  }
  file.bytes = std::move(bytes).value();
  auto closed = ClosedKeyring::decode(file.bytes);
  if (!closed.ok()) return with_context(std::move(closed).error(), file.name);
  file.closed = std::move(closed).value();
  if (file.closed.generation != generation) {
    return Error{ErrorCode::DamagedKeyring, file.name + " holds another generation than its name says"};
  }
  if (file.closed.vault != vault) return Error{ErrorCode::DamagedKeyring, file.name + " belongs to another vault"};
  if (file.closed.header_digest != header_digest) {
    return Error{ErrorCode::DamagedHeader, "vault.header is not the one that " + file.name + " was made with"};
  }
  return file;
}

Result<OpenedKeyring> open_newest_keyring(const KeyCustody::Context& context, const VaultHeader& header,
                                          const Digest& header_digest, const RsaKey* escrow_key) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, pin_at(context.machine, header.id, context.place));
  VAULTFS_ASSIGN_OR_RETURN(KeyringCandidates found,
                           find_keyrings(context.blobs, header.id, header_digest, pin ? &*pin : nullptr));
  struct Refused {
    StoredKeyring file;
    Error error;
  };
  std::optional<Error> first;
  std::optional<Refused> above;          // the candidate before
  std::optional<OpenedKeyring> another;  // whose epochs are not those that are known
  for (const Generation generation : found.newest_first) {
    auto file = read_keyring(context.blobs, header.id, header_digest, generation);
    if (!file.ok()) return std::move(file).error();
    auto opened = open_stored(context, header, *file, escrow_key);
    if (opened.ok()) {
      // It can't be opened, but it is the vault's own: a revocation of its key is never an older keyring's turn.
      const bool superseded = above && above->file.closed.generation == generation.next() &&
                              above->file.closed.predecessor == opened->digest &&
                              check_keyring_mac(above->file.bytes, opened->keyring.secrets.root_key).ok();
      if (superseded) return above->error;
      if (generation != found.vouched_for && !has_epoch(opened->keyring, context.preferred)) {
        found.passed_over.emplace_back(
            file->name,
            Error{ErrorCode::RollbackDetected, "it lacks the data key of an epoch that the vault has come to"});
        if (!another) another = std::move(opened).value();
        continue;
      }
      opened->passed_over = std::move(found.passed_over);
      return opened;
    }
    if (generation == found.vouched_for || opened.code() == ErrorCode::MemoryLockFailed) return opened;
    if (!first) first = opened.error();
    found.passed_over.emplace_back(file->name, opened.error());
    above = Refused{std::move(*file), std::move(opened).error()};
  }
  if (another) return std::move(*another);
  // This vault would not ask for that key now.
  if (found.is_another_history && first->code == ErrorCode::KeyRevoked) {
    return Error{
        ErrorCode::RollbackDetected,
        "an older copy of the vault, or one that was continued elsewhere, lies in its place, and its key can't be "
        "had either: " +
            first->message};
  }
  return *first;
}

}  // namespace vaultfs
