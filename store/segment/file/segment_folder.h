#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/chunk_id.h"
#include "crypto/memory/secret_buffer.h"
#include "store/blobs/blob_store.h"
#include "store/record/epoch_keys.h"
#include "store/record/record.h"

namespace vaultfs {

// Where the segments of a vault lie, and what opens them. All parts of a store have the same; it outlives them.
struct SegmentFolder {
  Env& env;
  const Env::Path root;  // the vault's directory
  BlobStore& blobs;
  const EpochKeys& keys;
};

// The id that content gets under the vault's id key. KeyRevoked.
[[nodiscard]] inline Result<ChunkId> id_of(const EpochKeys& keys, RecordType type, ByteView content) {
  return keys.with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
    return chunk_id(key, static_cast<std::uint8_t>(type), content);
  });
}

}  // namespace vaultfs
