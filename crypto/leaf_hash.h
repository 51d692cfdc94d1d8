#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "crypto/chunk_id.h"

namespace vaultfs {

// Bytes of the digests of a content's leaves (chunk_id.h): 32 for each 32 KiB begun.
[[nodiscard]] constexpr std::size_t leaf_digests_bytes(std::size_t content_bytes) noexcept {
  return (content_bytes + kLeafBytes - 1) / kLeafBytes * Digest::kSize;
}

// SHA-256 (FIPS 180-4) of each leaf of `content`, one after another, by the faster implementation that this machine
// has. REQUIRES: digests.size() == leaf_digests_bytes(content.size()). Thread-safe.
void hash_leaves(ByteView content, MutableByteView digests);

// The two implementations, for hash_leaves, tests and benchmarks: one leaf after the other by OpenSSL; many side by
// side by Intel's multi-buffer library. REQUIRES for the latter: ipsec_mb_usable() (crypto/ipsec_mb.h).
void openssl_hash_leaves(ByteView content, MutableByteView digests);
void ipsec_mb_hash_leaves(ByteView content, MutableByteView digests);

}  // namespace vaultfs
