#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vaultfs {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;

// The bytes of a text, without a terminator. The view lives as long as the text.
[[nodiscard]] inline ByteView bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

[[nodiscard]] inline std::string_view text_of(ByteView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }

[[nodiscard]] inline bool bytes_equal(ByteView a, ByteView b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// True if every byte is zero; an empty view is all zero.
[[nodiscard]] bool is_all_zero(ByteView bytes) noexcept;

// Lower-case hexadecimal, two characters a byte.
[[nodiscard]] std::string to_hex(ByteView bytes);

// The bytes of a hexadecimal text of either case; false (and out is empty) on any other character or an odd length.
[[nodiscard]] bool from_hex(std::string_view text, Bytes& out);

// Adds `more` at the end.
inline void append(Bytes& bytes, ByteView more) { bytes.insert(bytes.end(), more.begin(), more.end()); }

}  // namespace vaultfs
