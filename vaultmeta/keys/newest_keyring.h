#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/keyring.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// A keyring file as it lies in storage.
struct StoredKeyring {
  std::string name;  // of the blob
  Bytes bytes;
  ClosedKeyring closed;
};

// Which of the keyring files may be the newest (docs/format.md, section 7.4), before any of them is opened.
//
// A file's number proves nothing: the newest keyring is the one that the newest head names by its digest, or its direct
// successor. None of that is authenticated here but what the machine's pin vouches for; so an opening tries one after
// the other, and compares what it has opened with the authentic head.
struct KeyringCandidates {
  std::vector<Generation> newest_first;  // not empty
  // The one that the pinned head names, if that is among them: it is this vault's, whatever opening it gives.
  std::optional<Generation> vouched_for;
  std::vector<std::pair<std::string, Error>> passed_over;  // files with higher numbers, and why
  // Another head has the number of the pinned one, or all heads have lower ones: an older copy, or another branch.
  bool is_another_history = false;
};

// KeyringMissing; the error of the file with the highest number if none can be one. `pin` may be null.
[[nodiscard]] Result<KeyringCandidates> find_keyrings(BlobStore& blobs, const VaultId& vault,
                                                      const Digest& header_digest, const Pin* pin);

// KeyringMissing, DamagedKeyring (also one that belongs to another vault or generation), DamagedHeader if the vault's
// header, whose digest is `header_digest`, is not the one that it was made with.
[[nodiscard]] Result<StoredKeyring> read_keyring(BlobStore& blobs, const VaultId& vault, const Digest& header_digest,
                                                 Generation generation);

// The newest keyring in storage, opened.
struct OpenedKeyring {
  Keyring keyring;
  SecretBuffer key;
  Digest digest;
  bool older_form = false;              // of its file
  ReachedKey active;                    // empty if `active_trouble`
  std::optional<Error> active_trouble;  // an outage of the Active version: a Retiring one opened it
  SecretBuffer infrastructure_key;      // as far as the escrow key has given it; else empty
  KeyCustody::PassedOver passed_over;
};

// As KeyCustody::open() says: through the providers, or by the escrow key if one is given.
[[nodiscard]] Result<OpenedKeyring> open_newest_keyring(const KeyCustody::Context& context, const VaultHeader& header,
                                                        const Digest& header_digest,
                                                        const RsaKey* escrow_key = nullptr);

}  // namespace vaultfs
