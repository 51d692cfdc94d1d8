#include "crypto/leaf_hash.h"

#include <algorithm>
#include <cstring>

#include "crypto/hash.h"
#include "crypto/ipsec_mb.h"

namespace vaultfs {

namespace {

// The multi-buffer library takes 16 messages side by side and needs as long for fewer: as long as OpenSSL, with the
// processor's SHA instructions, for seven (bench_pieces).
constexpr std::size_t kLanes = 16;
constexpr std::size_t kWorthwhileLeaves = 8;

}  // namespace

void hash_leaves(ByteView content, MutableByteView digests) {
  const std::size_t leaves = digests.size() / Digest::kSize;
  std::size_t side_by_side = leaves / kLanes * kLanes;
  if (leaves - side_by_side >= kWorthwhileLeaves) side_by_side = leaves;
  if (side_by_side == 0 || !ipsec_mb_usable()) {
    openssl_hash_leaves(content, digests);
    return;
  }
  const std::size_t split = std::min(side_by_side * kLeafBytes, content.size());
  ipsec_mb_hash_leaves(content.first(split), digests.first(side_by_side * Digest::kSize));
  openssl_hash_leaves(content.subspan(split), digests.subspan(side_by_side * Digest::kSize));
}

void openssl_hash_leaves(ByteView content, MutableByteView digests) {
  std::byte* out = digests.data();
  for (std::size_t offset = 0; offset < content.size(); offset += kLeafBytes) {
    const Digest leaf = sha256(content.subspan(offset, std::min(kLeafBytes, content.size() - offset)));
    std::memcpy(out, leaf.data(), Digest::kSize);
    out += Digest::kSize;
  }
}

}  // namespace vaultfs
