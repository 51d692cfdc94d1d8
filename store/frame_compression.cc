#include "store/frame_compression.h"

#include <zstd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace vaultfs {
namespace {

constexpr std::size_t kSampleLines = 8;
constexpr std::size_t kLineBytes = 64;
constexpr std::size_t kSampleBytes = kSampleLines * kLineBytes;
// Pairs of equal bytes among 512 evenly distributed ones: 511 expected, standard deviation 23. Six deviations above
// that random content is practically never tried; content with an entropy below about 7.6 bits a byte always is.
constexpr std::uint32_t kEqualPairsOfRandom = 650;

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeCompressor> context = [] {
    std::unique_ptr<ZSTD_CCtx, FreeCompressor> made(ZSTD_createCCtx());
    if (!made) std::abort();  // out of memory
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_compressionLevel, kZstdLevel);
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_contentSizeFlag, 1);
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_checksumFlag, 0);  // the AEAD's tag is stronger
    return made;
  }();
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  if (!context) std::abort();  // out of memory
  return context.get();
}

}  // namespace

bool may_compress(ByteView frame) noexcept {
  if (frame.size() < 4 * kSampleBytes) return frame.size() > kLineBytes;
  std::array<std::uint16_t, 256> counts{};
  const std::size_t step = frame.size() / kSampleLines;
  for (std::size_t line = 0; line < kSampleLines; ++line) {
    // Not at the start of a page each time: headers there say little about the rest.
    const ByteView sample = frame.subspan(line * step + (line % 4) * kLineBytes, kLineBytes);
    for (const std::byte b : sample) ++counts[std::to_integer<std::size_t>(b)];
  }
  std::uint32_t equal_pairs = 0;
  for (const std::uint32_t n : counts) equal_pairs += n * (n - (n > 0 ? 1 : 0)) / 2;
  return equal_pairs > kEqualPairsOfRandom;
}

std::size_t compress_frame(ByteView frame, MutableByteView out) {
  const std::size_t size = ZSTD_compress2(compressor(), out.data(), out.size(), frame.data(), frame.size());
  return ZSTD_isError(size) != 0U ? 0 : size;
}

Status decompress_frame(ByteView compressed, MutableByteView out) {
  const Error damaged{ErrorCode::DamagedRecord, "a compressed frame does not hold what its record says"};
  if (ZSTD_getFrameContentSize(compressed.data(), compressed.size()) != out.size()) return damaged;
  const std::size_t size =
      ZSTD_decompressDCtx(decompressor(), out.data(), out.size(), compressed.data(), compressed.size());
  if (ZSTD_isError(size) != 0U || size != out.size()) return damaged;
  return ok_status();
}

}  // namespace vaultfs
