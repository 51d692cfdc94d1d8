#include "crypto/keyvault/key_ref.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace vaultfs {
namespace {

constexpr std::size_t kNameLimit = 127;
constexpr std::size_t kVersionDigits = 32;
constexpr std::size_t kQuoteLimit = 80;

// ASCII only, whatever the locale: a name is part of a file name and of stored bytes.
bool is_alphanumeric(char c) noexcept {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_hex_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Foreign text as it may stand in a message: one line, bounded, no control characters for a terminal to obey.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, kQuoteLimit)) out += (c >= 0x20 && c < 0x7f && c != '"') ? c : '?';
  if (text.size() > kQuoteLimit) out += "...";
  return out + "\"";
}

Error invalid_ref(std::string_view text, const std::string& why) {
  return Error{ErrorCode::InvalidKeyRef,
               quoted(text) + " is no key reference: " + why +
                   "; write KEYVAULT/KEY to follow new versions or KEYVAULT/KEY/VERSION to pin one"};
}

}  // namespace

bool is_key_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kNameLimit && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || c == '-'; });
}

bool is_key_version_id(std::string_view text) noexcept {
  return text.size() == kVersionDigits && std::all_of(text.begin(), text.end(), is_hex_digit);
}

bool is_pinnable_version(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kNameLimit && is_alphanumeric(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

Status check_key_name(std::string_view what, std::string_view text) {
  if (is_key_name(text)) return ok_status();
  return Error{ErrorCode::InvalidName, quoted(text) + " can't be the name of a " + std::string(what) +
                                           "; use 1 to 127 letters, digits and hyphens, not beginning with a hyphen"};
}

Result<KeyRef> KeyRef::parse(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('/', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (parts.size() != 2 && parts.size() != 3) return invalid_ref(text, "it has not two or three parts");
  const std::string rule = " is not 1 to 127 letters, digits and hyphens";
  if (!is_key_name(parts[0])) return invalid_ref(text, "the key vault's name" + rule);
  if (!is_key_name(parts[1])) return invalid_ref(text, "the key's name" + rule);
  KeyRef ref{std::string(parts[0]), std::string(parts[1]), std::nullopt};
  if (parts.size() == 3) {
    if (!is_pinnable_version(parts[2])) {
      return invalid_ref(text, "the version is not 1 to 127 letters, digits, dots, underscores and hyphens");
    }
    std::string version(parts[2]);
    if (is_key_version_id(version)) {
      for (char& c : version) {
        if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
      }
    }
    ref.version = std::move(version);
  }
  return ref;
}

std::string KeyRef::to_string() const { return key_vault + "/" + key + (version ? "/" + *version : ""); }

}  // namespace vaultfs
