#include "crypto/chunk_id.h"

#include <algorithm>
#include <cstring>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {

ChunkId chunk_id(const SecretBuffer& id_key, std::uint8_t record_type, ByteView content) {
  ByteWriter head;
  head.u8(record_type);
  head.u64(content.size());
  Bytes leaves((content.size() + kLeafBytes - 1) / kLeafBytes * Digest::kSize);
  std::byte* out = leaves.data();
  for (std::size_t offset = 0; offset < content.size(); offset += kLeafBytes) {
    const Digest leaf = sha256(content.subspan(offset, std::min(kLeafBytes, content.size() - offset)));
    std::memcpy(out, leaf.data(), Digest::kSize);
    out += Digest::kSize;
  }
  const Digest id = hmac_sha256(id_key.view(), {head.view(), leaves});
  // Unkeyed hashes of plaintext confirm a guess of it: they don't stay on the heap.
  wipe(leaves);
  ChunkId result;
  std::memcpy(result.data(), id.data(), ChunkId::kSize);
  return result;
}

}  // namespace vaultfs
