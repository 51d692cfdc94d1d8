#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// The MACs of heads: HMAC(key of the head's epoch, root MAC of the body), so that neither the root key alone nor an old
// epoch is enough to make a head for the newest state. Each key is derived once, because anybody can put a hundred
// thousand files beside the heads; to be kept no longer than the walk over them. One thread.
class HeadMacs {
 public:
  explicit HeadMacs(KeyCustody& custody) : custody_(custody) {}
  // Of a head with that body. KeyRevoked; DamagedHead if the keyring has no such epoch.
  [[nodiscard]] Result<Digest> mac_of(const Head& head, ByteView body);
  [[nodiscard]] Result<bool> are_right(const Head::Signed& stored);

 private:
  [[nodiscard]] Result<const SecretBuffer*> root_key(const Head& head);
  [[nodiscard]] Result<const SecretBuffer*> epoch_key(const Head& head);

  KeyCustody& custody_;
  std::map<std::uint16_t, SecretBuffer> root_keys_;  // by format
  std::map<std::pair<std::uint16_t, EpochNumber>, SecretBuffer> epoch_keys_;
};

// Of one head.
[[nodiscard]] Result<Digest> head_mac(KeyCustody& custody, const Head& head, ByteView body);

// A head as it lies in storage, its form, place and vault checked and nothing authenticated. DamagedHead,
// UnsupportedFormat.
[[nodiscard]] Result<Head::Signed> read_head_form(BlobStore& blobs, const VaultId& vault, Generation generation);

// The heads of a vault that are genuine, all of them or, where there are more, the 65,536 newest.
struct StoredHeads {
  std::vector<Head::Signed> newest_first;  // without their bodies
  Generation damaged_file;                 // the highest damaged one; 0 = none
  std::optional<Error> damage;             // of that file
  Generation oldest;                       // of the genuine ones
};
[[nodiscard]] Result<StoredHeads> read_heads(BlobStore& blobs, KeyCustody& custody);

// The head to open the vault at. `pin` may be null (an unverified vault). RollbackDetected, PinOutdated
// (history_is_cut_off), DamagedHead.
// With `accept_older` a newest head that the pin does not lead to is taken, and a line about it added to `notes`.
[[nodiscard]] Result<Head::Signed> newest_head(BlobStore& blobs, const StoredHeads& heads, const Pin* pin,
                                               bool accept_older, std::vector<std::string>& notes);

// Signs and stores a head. Durable on return.
[[nodiscard]] Result<Head::Signed> put_head(BlobStore& blobs, KeyCustody& custody, const Head& head);

// Checks that the opened keyring is the one that the head names, or a successor of it by an unbroken chain (a crash
// before the head of a key change). RollbackDetected, KeyringMissing, DamagedHead.
[[nodiscard]] Status check_keyring_against_head(KeyCustody& custody, const Head& head);

}  // namespace vaultfs
