#include "base/visible_text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace vaultfs {
namespace {

struct CodePoints {
  char32_t first;
  char32_t last;
};

constexpr std::array<CodePoints, 12> kNotAsThemselves{{
    {0x00, 0x1f},        // C0
    {0x7f, 0x9f},        // DEL, C1
    {0xad, 0xad},        // soft hyphen
    {0x61c, 0x61c},      // Arabic letter mark
    {0x180e, 0x180e},    // Mongolian vowel separator
    {0x200b, 0x200b},    // zero width space
    {0x200e, 0x200f},    // left-to-right and right-to-left marks
    {0x2028, 0x202e},    // separators, embeddings, overrides
    {0x2060, 0x206f},    // invisible operators, isolates, deprecated format characters
    {0xfeff, 0xfeff},    // byte order mark
    {0xfff9, 0xfffb},    // interlinear annotations
    {0xe0000, 0xe007f},  // tags
}};

// A character at the beginning of `text`. `bytes` is 0 if these are no bytes of UTF-8 (RFC 3629: shortest forms only,
// no surrogates).
struct Character {
  char32_t value = 0;
  std::size_t bytes = 0;
};

Character first_character(std::string_view text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  std::size_t bytes = 0;
  char32_t smallest = 0;
  char32_t value = 0;
  if ((lead & 0xe0U) == 0xc0) {
    bytes = 2, smallest = 0x80, value = lead & 0x1fU;
  } else if ((lead & 0xf0U) == 0xe0) {
    bytes = 3, smallest = 0x800, value = lead & 0x0fU;
  } else if ((lead & 0xf8U) == 0xf0) {
    bytes = 4, smallest = 0x10000, value = lead & 0x07U;
  } else {
    return {};
  }
  if (text.size() < bytes) return {};
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return {};
    value = (value << 6U) | (byte(i) & 0x3fU);
  }
  if (value < smallest || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, bytes};
}

bool shows_as_itself(char32_t value) {
  return std::ranges::none_of(kNotAsThemselves,
                              [value](const CodePoints& range) { return value >= range.first && value <= range.last; });
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = first_character(text).bytes;
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string visible_text(std::string_view text) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::size_t bytes = std::max<std::size_t>(character.bytes, 1);
    if (character.bytes != 0 && shows_as_itself(character.value)) {
      result.append(text.substr(0, bytes));
    } else {
      for (const char c : text.substr(0, bytes)) {
        const auto byte = static_cast<unsigned char>(c);
        result += {'\\', 'x', kHexDigits[byte >> 4U], kHexDigits[byte & 0xfU]};
      }
    }
    text.remove_prefix(bytes);
  }
  return result;
}

}  // namespace vaultfs
