#include "base/bytes.h"

namespace vaultfs {

bool is_all_zero(ByteView bytes) noexcept {
  // Comparing a buffer with itself shifted by 16 lets memcmp's vector code do the work.
  constexpr std::size_t kHead = 16;
  const std::size_t head = bytes.size() < kHead ? bytes.size() : kHead;
  for (std::size_t i = 0; i < head; ++i) {
    if (bytes[i] != std::byte{0}) return false;
  }
  if (bytes.size() <= kHead) return true;
  return std::memcmp(bytes.data(), bytes.data() + kHead, bytes.size() - kHead) == 0;
}

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    text.push_back(kDigits[std::to_integer<unsigned>(b) >> 4U]);
    text.push_back(kDigits[std::to_integer<unsigned>(b) & 15U]);
  }
  return text;
}

namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool from_hex(std::string_view text, Bytes& out) {
  out.clear();
  if (text.size() % 2 != 0) return false;
  Bytes decoded;
  decoded.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    decoded.push_back(static_cast<std::byte>(high * 16 + low));
  }
  out = std::move(decoded);
  return true;
}

}  // namespace vaultfs
