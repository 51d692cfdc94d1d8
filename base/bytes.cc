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

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

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

std::string to_base64(ByteView bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = bytes.size() - i < 3 ? bytes.size() - i : 3;
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = (group << 8U) | (j < n ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j) {
      text.push_back(j <= n ? kBase64[(group >> (18U - 6U * j)) & 63U] : '=');
    }
  }
  return text;
}

bool from_base64(std::string_view text, Bytes& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  Bytes decoded;
  decoded.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::size_t padding = 0;
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const char c = text[i + j];
      const bool may_pad = i + 4 == text.size() && j >= 2;
      if (c == '=' && may_pad) {
        ++padding;
        group <<= 6U;
        continue;
      }
      const std::size_t digit = kBase64.find(c);
      if (digit == std::string_view::npos || padding != 0) return false;
      group = (group << 6U) | static_cast<std::uint32_t>(digit);
    }
    if (padding == 1 && (group & 0xffU) != 0) return false;
    if (padding == 2 && (group & 0xffffU) != 0) return false;
    for (std::size_t j = 0; j < 3 - padding; ++j) {
      decoded.push_back(static_cast<std::byte>((group >> (16U - 8U * j)) & 0xffU));
    }
  }
  out = std::move(decoded);
  return true;
}

}  // namespace vaultfs
