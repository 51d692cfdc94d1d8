#include "store/record/checksum.h"

#include <xxhash.h>

#include <cstring>

namespace vaultfs {

std::uint64_t checksum64(ByteView bytes) noexcept { return XXH3_64bits(bytes.data(), bytes.size()); }

std::array<std::byte, kChecksum128Bytes> checksum128(ByteView bytes) noexcept {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<std::byte, kChecksum128Bytes> out{};
  static_assert(sizeof canonical.digest == kChecksum128Bytes);
  std::memcpy(out.data(), canonical.digest, out.size());
  return out;
}

bool checksum128_matches(ByteView bytes, ByteView stored) noexcept {
  const auto computed = checksum128(bytes);
  return bytes_equal(computed, stored);
}

}  // namespace vaultfs
