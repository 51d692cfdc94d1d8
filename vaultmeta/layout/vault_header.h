#pragma once

#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/epoch_keys.h"
#include "vaultmeta/layout/fingerprint.h"

namespace vaultfs {

// VAULT/vault.header, written once at creation (docs/format.md, section 6). Clear; its SHA-256 is inside every keyring,
// so that a changed header is found as soon as a keyring opens.
struct VaultHeader {
  VaultId id;
  UnixNanos created;
  Suite suite = Suite::aes_gcm;
  std::string region;                                 // label, may be empty
  Digest root_fingerprint;                            // of the root key; people compare another one (fingerprint.h)
  std::array<std::byte, 16> infrastructure_key_id{};  // platform key of the second layer; zero with suite 1

  [[nodiscard]] Bytes encode() const;
  // NotAVault (no magic), DamagedHeader, UnsupportedFormat (newer version, with the two version numbers in words).
  [[nodiscard]] static Result<VaultHeader> decode(ByteView bytes);
  static constexpr std::size_t kMaxRegionBytes = 64;
  static constexpr const char* kFileName = "vault.header";
};

// The root key's fingerprint: HKDF(root key, salt = vault id, "vaultfs/1 root fingerprint"), 32 bytes. Public.
// It never changes: whoever ever held a key version can make a vault that has it.
[[nodiscard]] Result<Digest> root_fingerprint(const SecretBuffer& root_key, const VaultId& vault);

}  // namespace vaultfs
