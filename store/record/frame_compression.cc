#include "store/record/frame_compression.h"

#define ZSTD_STATIC_LINKING_ONLY  // for its memory to be ours
#include <malloc.h>
#include <string.h>  // NOLINT(modernize-deprecated-headers): explicit_bzero is glibc's
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/thread/mutex.h"
#include "crypto/memory/plaintext_memory.h"

namespace vaultfs {
namespace {

constexpr std::size_t kSamples = 128;
constexpr std::size_t kSampleBytes = 8;
// Smaller frames are tried at once: looking would cost as much. Pages of 4 KiB are looked at: trying
// those of random writes in vain took a third of the daemon's time (docs/decisions/0009-frames.md).
constexpr std::size_t kProbedFrom = std::size_t{2} * kSamples * kSampleBytes;
// Pairs of equal bytes among 1,024 evenly distributed ones: 2,046 expected, standard deviation 45. Five deviations
// above that random content is practically never tried.
constexpr std::uint32_t kEqualPairsOfRandom = 2272;

void* allocate(void* /*opaque*/, std::size_t size) { return std::malloc(size); }  // NOLINT(*-no-malloc)
// A context holds literals of what it has worked on last.
void wipe_and_free(void* /*opaque*/, void* memory) {
  if (memory != nullptr) ::explicit_bzero(memory, ::malloc_usable_size(memory));
  std::free(memory);  // NOLINT(*-no-malloc)
}
constexpr ZSTD_customMem kWipedMemory{allocate, wipe_and_free, nullptr};

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// One of zstd's contexts for each thread, made when it is needed and kept until the vault is sealed.
template <typename Context, typename Free>
class ThreadContext {
 public:
  template <typename Make, typename Use>
  auto with(Make&& make, Use&& use) {
    const MutexLock lock(mutex_);
    if (!context_) context_.reset(make());
    if (!context_) throw std::bad_alloc();
    return use(context_.get());
  }

 private:
  void wipe() {
    const MutexLock lock(mutex_);
    context_.reset();
  }
  Mutex mutex_;  // a leaf, but for mutexes of PlaintextScratch that are held already
  std::unique_ptr<Context, Free> context_ GUARDED_BY(mutex_);
  WipedOnSealing registered_{[this] { wipe(); }};  // goes first
};

ZSTD_CCtx* make_compressor() {
  ZSTD_CCtx* const made = ZSTD_createCCtx_advanced(kWipedMemory);
  if (made == nullptr) return nullptr;
  ZSTD_CCtx_setParameter(made, ZSTD_c_contentSizeFlag, 1);
  ZSTD_CCtx_setParameter(made, ZSTD_c_checksumFlag, 0);  // the AEAD's tag is stronger
  return made;
}

// How zstd is set; 0 is what the level says. Beyond some size the levels take tables that don't stay in a core's cache:
// smaller ones are a quarter quicker and find nearly as much (docs/decisions/0012-backups-in-order.md).
struct ZstdSettings {
  int level, strategy, hash_log, chain_log, min_match, target_length;
};
constexpr ZstdSettings kDense{3, ZSTD_dfast, 15, 14, 5, 0};
constexpr ZstdSettings kQuick{-1, ZSTD_fast, 14, 13, 6, 1};
constexpr std::size_t kLevelsKnowBestTo = std::size_t{128} * 1024;

void apply(ZSTD_CCtx* context, ZstdSettings settings, std::size_t frame_bytes) {
  if (frame_bytes <= kLevelsKnowBestTo) settings = {settings.level, 0, 0, 0, 0, 0};
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, settings.level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_strategy, settings.strategy);
  ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, settings.hash_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, settings.chain_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_minMatch, settings.min_match);
  ZSTD_CCtx_setParameter(context, ZSTD_c_targetLength, settings.target_length);
}

const ZstdSettings& settings_of(Compression compression) {
  return compression == Compression::fast || compression == Compression::ordered_fast ? kQuick : kDense;
}

std::uint8_t compressible_frame_log2(Compression compression) {
  switch (compression) {
    case Compression::ordered:
    case Compression::ordered_fast:
      return kOrderedFrameLog2;
    case Compression::fast:
      return kFastFrameLog2;
    default:
      return kCompressibleFrameLog2;
  }
}

}  // namespace

bool may_compress(ByteView frame) noexcept {
  if (frame.size() < kProbedFrom) return frame.size() > 64;
  std::array<std::uint16_t, 256> counts{};
  const std::size_t step = frame.size() / kSamples;
  for (std::size_t i = 0; i < kSamples; ++i) {
    // Not at the same place of a page each time: its header says little about the rest.
    const ByteView sample = frame.subspan(i * step + (i * 7 % 8) * kSampleBytes, kSampleBytes);
    for (const std::byte b : sample) ++counts[std::to_integer<std::size_t>(b)];
  }
  std::uint32_t equal_pairs = 0;
  for (const std::uint32_t n : counts) equal_pairs += n * (n - (n > 0 ? 1 : 0)) / 2;
  return equal_pairs > kEqualPairsOfRandom;
}

std::uint8_t frame_log2_for(ByteView content, Compression compression) noexcept {
  if (content.size() <= std::size_t{1} << kDefaultFrameLog2) return kDefaultFrameLog2;  // one frame in any case
  constexpr std::size_t kPiece = std::size_t{256} * 1024;
  const std::uint8_t compressible = compressible_frame_log2(compression);
  for (std::size_t begin = 0; begin < content.size(); begin += kPiece) {
    if (may_compress(content.subspan(begin, std::min(kPiece, content.size() - begin)))) return compressible;
  }
  return kPlainFrameLog2;
}

std::size_t compress_frame(ByteView frame, MutableByteView out, Compression compression) {
  thread_local ThreadContext<ZSTD_CCtx, FreeCompressor> compressor;
  const std::size_t size = compressor.with(make_compressor, [&](ZSTD_CCtx* context) {
    apply(context, settings_of(compression), frame.size());
    return ZSTD_compress2(context, out.data(), out.size(), frame.data(), frame.size());
  });
  return ZSTD_isError(size) != 0U ? 0 : size;
}

Status decompress_frame(ByteView compressed, MutableByteView out) {
  const Error damaged{ErrorCode::DamagedRecord, "a compressed frame does not hold what its record says"};
  if (ZSTD_getFrameContentSize(compressed.data(), compressed.size()) != out.size()) return damaged;
  thread_local ThreadContext<ZSTD_DCtx, FreeDecompressor> decompressor;
  const std::size_t size = decompressor.with([] { return ZSTD_createDCtx_advanced(kWipedMemory); },
                                             [&](ZSTD_DCtx* context) {
                                               return ZSTD_decompressDCtx(context, out.data(), out.size(),
                                                                          compressed.data(), compressed.size());
                                             });
  if (ZSTD_isError(size) != 0U || size != out.size()) return damaged;
  return ok_status();
}

}  // namespace vaultfs
