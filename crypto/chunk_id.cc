#include "crypto/chunk_id.h"

#include <cstring>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "crypto/leaf_hash.h"

namespace vaultfs {

ChunkId chunk_id(const SecretBuffer& id_key, std::uint8_t record_type, ByteView content) {
  ByteWriter head;
  head.u8(record_type);
  head.u64(content.size());
  Bytes leaves(leaf_digests_bytes(content.size()));
  hash_leaves(content, leaves);
  const Digest id = hmac_sha256(id_key.view(), {head.view(), leaves});
  // Unkeyed hashes of plaintext confirm a guess of it: they don't stay on the heap.
  wipe(leaves);
  ChunkId result;
  std::memcpy(result.data(), id.data(), ChunkId::kSize);
  return result;
}

}  // namespace vaultfs
