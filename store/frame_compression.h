#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// Compression of single frames by zstd (RFC 8878), each frame for itself. All functions are thread-safe: contexts are
// per thread.

// zstd's level. docs/format.md leaves it open, so it can change without a change of format.
inline constexpr int kZstdLevel = 1;

// A cheap look at eight cache lines of the frame: false if its bytes are spread so evenly that zstd would very likely
// gain nothing (encrypted or compressed content). Costs well under a microsecond.
[[nodiscard]] bool may_compress(ByteView frame) noexcept;

// Compresses `frame` into `out` as one zstd frame with its content size; 0 if it does not fit into out.size().
[[nodiscard]] std::size_t compress_frame(ByteView frame, MutableByteView out);

// Decompresses into exactly out.size() bytes; DamagedRecord if `compressed` holds anything else.
[[nodiscard]] Status decompress_frame(ByteView compressed, MutableByteView out);

}  // namespace vaultfs
