#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

inline constexpr std::size_t kLeafBytes = std::size_t{32} * 1024;

// The identity of a chunk or map page: HMAC-SHA-256(id_key, type u8 ‖ length u64 ‖ SHA-256 of each 32 KiB leaf).
// The last leaf may be shorter; empty content has no leaf. Leaves are independent, so that a multi-buffer engine can
// hash them side by side. Thread-safe.
[[nodiscard]] ChunkId chunk_id(const SecretBuffer& id_key, std::uint8_t record_type, ByteView content);

}  // namespace vaultfs
