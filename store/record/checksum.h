#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace vaultfs {

// XXH3 (xxHash 0.8) over stored bytes: finds torn writes and bit rot without any key. It is no defence against anybody
// and never an identity.
[[nodiscard]] std::uint64_t checksum64(ByteView bytes) noexcept;

// XXH3-128 in its canonical, big-endian form.
inline constexpr std::size_t kChecksum128Bytes = 16;
[[nodiscard]] std::array<std::byte, kChecksum128Bytes> checksum128(ByteView bytes) noexcept;

// True if `stored` is the canonical XXH3-128 of `bytes`.
[[nodiscard]] bool checksum128_matches(ByteView bytes, ByteView stored) noexcept;

}  // namespace vaultfs
