#pragma once

#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blob_store.h"
#include "vaultmeta/keyring.h"

namespace vaultfs {

// The keyring file with the highest generation, as it lies in storage.
struct NewestKeyring {
  std::string name;  // of the blob
  Bytes bytes;
  ClosedKeyring closed;
};

// KeyringMissing, DamagedKeyring (also one that belongs to another vault), DamagedHeader if the vault's header, whose
// digest is `header_digest`, is not the one that it was made with. None of it is authenticated before the file is
// opened.
[[nodiscard]] Result<NewestKeyring> read_newest_keyring(BlobStore& blobs, const VaultId& vault,
                                                        const Digest& header_digest);

}  // namespace vaultfs
