#include "vaultmeta/newest_keyring.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace vaultfs {
namespace {

constexpr int kListAttempts = 5;
// No keyring has been found: a generation is at least 1.
constexpr std::uint64_t kNone = 0;

Result<NewestKeyring> read_newest(BlobStore& blobs) {
  // The owner of a live vault may replace and delete keyrings between our listing and our reading.
  for (int attempt = 1;; ++attempt) {
    VAULTFS_ASSIGN_OR_RETURN(const auto names, blobs.list(kKeyringFolder));
    std::uint64_t newest = kNone;
    for (const std::string& name : names) newest = std::max(newest, number_of(name, kKeyringExtension).value_or(kNone));
    if (newest == kNone) {
      return Error{ErrorCode::KeyringMissing, "the vault has no keyring; put back keyrings/ from a copy of the vault"};
    }
    NewestKeyring file{keyring_blob_name(Generation(newest)), {}, {}};
    auto bytes = blobs.get(file.name, kMaxKeyringBytes);
    if (!bytes.ok()) {
      if (bytes.code() == ErrorCode::NotFound && attempt < kListAttempts) continue;
      if (bytes.code() == ErrorCode::ForeignFile || bytes.code() == ErrorCode::NotFound) {
        return Error{ErrorCode::DamagedKeyring, file.name + " can't be read: " + bytes.error().message};
      }
      return std::move(bytes).error();
    }
    file.bytes = std::move(bytes).value();
    auto closed = ClosedKeyring::decode(file.bytes);
    // A put is whole or absent, so a damaged newest keyring is rot or an attack and never an older one's turn.
    if (!closed.ok()) return with_context(std::move(closed).error(), file.name);
    file.closed = std::move(closed).value();
    if (file.closed.generation != Generation(newest)) {
      return Error{ErrorCode::DamagedKeyring, file.name + " holds another generation than its name says"};
    }
    return file;
  }
}

}  // namespace

Result<NewestKeyring> read_newest_keyring(BlobStore& blobs, const VaultId& vault, const Digest& header_digest) {
  VAULTFS_ASSIGN_OR_RETURN(NewestKeyring file, read_newest(blobs));
  if (file.closed.vault != vault) {
    return Error{ErrorCode::DamagedKeyring, file.name + " belongs to another vault"};
  }
  if (file.closed.header_digest != header_digest) {
    return Error{ErrorCode::DamagedHeader, "vault.header is not the one that " + file.name + " was made with"};
  }
  return file;
}

}  // namespace vaultfs
