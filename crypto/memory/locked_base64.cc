#include "crypto/memory/locked_base64.h"

namespace vaultfs {
namespace {

constexpr std::string_view kStandard = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrl = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::string_view alphabet(Base64 form) noexcept { return form == Base64::standard_padded ? kStandard : kUrl; }

// Without its padding; nothing if the padding is wrong.
std::optional<std::string_view> unpadded(std::string_view text, Base64 form) noexcept {
  if (form == Base64::standard_padded) {
    if (text.size() % 4 != 0) return std::nullopt;
    if (text.ends_with('=')) text.remove_suffix(text.ends_with("==") ? 2 : 1);
  }
  if (text.size() % 4 == 1) return std::nullopt;
  return text;
}

// Calls sink(byte) for each decoded byte; false if the text is not of the form.
template <typename Sink>
bool decode(std::string_view text, Base64 form, Sink sink) noexcept {
  const auto digits = unpadded(text, form);
  if (!digits) return false;
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (const char c : *digits) {
    const std::size_t digit = alphabet(form).find(c);
    if (digit == std::string_view::npos) return false;
    group = (group << 6U) | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      sink(static_cast<std::byte>((group >> bits) & 0xffU));
    }
  }
  return (group & ((1U << bits) - 1)) == 0;
}

}  // namespace

LockedText locked_base64(ByteView bytes, Base64 form) {
  LockedText text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (const std::byte byte : bytes) {
    group = (group << 8U) | std::to_integer<std::uint32_t>(byte);
    for (bits += 8; bits >= 6;) {
      bits -= 6;
      text.push_back(alphabet(form)[(group >> bits) & 63U]);
    }
  }
  if (bits > 0) text.push_back(alphabet(form)[(group << (6 - bits)) & 63U]);
  while (form == Base64::standard_padded && text.size() % 4 != 0) text.push_back('=');
  return text;
}

bool is_base64(std::string_view text, Base64 form) noexcept {
  return decode(text, form, [](std::byte) {});
}

Result<SecretBuffer> from_locked_base64(std::string_view text, Base64 form) {
  std::size_t size = 0;
  if (!decode(text, form, [&](std::byte) { ++size; })) {
    return Error{ErrorCode::InvalidArgument, "the text is not base64 of the expected form"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer bytes, SecretBuffer::allocate(size));
  const MutableByteView out = bytes.mutable_view();
  std::size_t at = 0;
  const bool decoded = decode(text, form, [&](std::byte byte) { out[at++] = byte; });
  if (!decoded) std::abort();
  return bytes;
}

}  // namespace vaultfs
