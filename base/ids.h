#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <span>

namespace vaultfs {

// N bytes that name one kind of thing; ids of different tags do not convert into each other. All zero means "none".
template <typename Tag, std::size_t N>
class ByteId {
 public:
  static constexpr std::size_t kSize = N;
  ByteId() = default;
  explicit ByteId(std::array<std::byte, N> bytes) : bytes_(bytes) {}
  [[nodiscard]] std::byte* data() noexcept { return bytes_.data(); }
  [[nodiscard]] const std::byte* data() const noexcept { return bytes_.data(); }
  [[nodiscard]] std::span<const std::byte> view() const noexcept { return bytes_; }
  [[nodiscard]] std::span<std::byte> mutable_view() noexcept { return bytes_; }
  [[nodiscard]] bool is_zero() const noexcept { return bytes_ == std::array<std::byte, N>{}; }
  auto operator<=>(const ByteId&) const = default;

 private:
  std::array<std::byte, N> bytes_{};
};

// A number that names or counts one kind of thing.
template <typename Tag>
struct StrongNumber {
  std::uint64_t value = 0;
  constexpr StrongNumber() = default;
  constexpr explicit StrongNumber(std::uint64_t v) : value(v) {}
  auto operator<=>(const StrongNumber&) const = default;  // NOLINT(modernize-use-nullptr): there is no pointer here
  // The highest number is followed by itself, never by 0, which means "none": whoever wants to use it finds it taken.
  [[nodiscard]] constexpr StrongNumber next() const {
    return StrongNumber(value == std::numeric_limits<std::uint64_t>::max() ? value : value + 1);
  }
};

using VaultId = ByteId<struct VaultIdTag, 16>;
using ChunkId = ByteId<struct ChunkIdTag, 32>;  // also names map pages: HMAC over the content, with the record's type
using Digest = ByteId<struct DigestTag, 32>;    // SHA-256

using ContainerNumber = StrongNumber<struct ContainerNumberTag>;  // of a segment, journal, checkpoint … file
using EpochNumber = StrongNumber<struct EpochNumberTag>;          // DEK epoch, from 1
using Lsn = StrongNumber<struct LsnTag>;                          // log sequence number, from 1; 0 = none
using Generation = StrongNumber<struct GenerationTag>;            // of a keyring or head, from 1
using InodeNumber = StrongNumber<struct InodeNumberTag>;          // from 2 (1 is the mount's root); never reused
using PointNumber = StrongNumber<struct PointNumberTag>;          // recovery points of a vault, from 1
using JobNumber = StrongNumber<struct JobNumberTag>;              // from 1
using ChunkIndexInFile = StrongNumber<struct ChunkIndexTag>;      // file offset / 1 MiB

}  // namespace vaultfs

template <typename Tag>
struct std::hash<vaultfs::StrongNumber<Tag>> {
  std::size_t operator()(const vaultfs::StrongNumber<Tag>& n) const noexcept {
    return std::hash<std::uint64_t>{}(n.value);
  }
};

// Ids are keyed hashes or random: their first bytes are already well spread.
template <typename Tag, std::size_t N>
struct std::hash<vaultfs::ByteId<Tag, N>> {
  std::size_t operator()(const vaultfs::ByteId<Tag, N>& id) const noexcept {
    std::size_t h = 0;
    std::memcpy(&h, id.data(), sizeof h);
    return h;
  }
};
