#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "store/record/record.h"

namespace vaultfs {

// Compression of single frames by zstd (RFC 8878), each frame for itself. All functions are thread-safe: contexts are
// per thread.

// Frame sizes of new records, as powers of two. A large frame compresses better; where nothing is gained by that, a
// small one lets a random read open less. docs/format.md leaves sizes and how zstd is set open, so both can change
// without a change of format. Why these: docs/decisions/0009-frames.md and 0012-backups-in-order.md.
inline constexpr std::uint8_t kOrderedFrameLog2 = 20;
inline constexpr std::uint8_t kCompressibleFrameLog2 = 19;
inline constexpr std::uint8_t kFastFrameLog2 = 18;
inline constexpr std::uint8_t kPlainFrameLog2 = 13;

// A cheap look at 1 KiB spread over the frame: false if its bytes are distributed so evenly that zstd would very likely
// gain nothing (encrypted or compressed content).
[[nodiscard]] bool may_compress(ByteView frame) noexcept;

// The frame size for new content: the plain one if no part of it may compress.
[[nodiscard]] std::uint8_t frame_log2_for(ByteView content, Compression compression) noexcept;

// Compresses `frame` into `out` as one zstd frame with its content size; 0 if it does not fit into out.size().
// REQUIRES: compression is not off.
[[nodiscard]] std::size_t compress_frame(ByteView frame, MutableByteView out, Compression compression);

// Decompresses into exactly out.size() bytes; DamagedRecord if `compressed` holds anything else.
[[nodiscard]] Status decompress_frame(ByteView compressed, MutableByteView out);

}  // namespace vaultfs
