#include "crypto/keyvault/http/json_reader.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The length of the UTF-8 sequence at the front of `text`, 0 if it is none (RFC 3629 section 4).
std::size_t utf8_sequence(std::string_view text) noexcept {
  const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
  const auto tail = [&](std::size_t at) { return (byte(at) & 0xC0U) == 0x80; };
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool beyond = first == 0xF4 && second > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

// REQUIRES: a code point that is no surrogate.
void append_utf8(LockedText& out, char32_t code) {
  const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0U | (code >> 6U));
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0U | (code >> 12U));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | (code >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
}

// The length of the number at the front of `text` (RFC 8259 section 6), 0 if there is none.
std::size_t number_length(std::string_view text, bool& whole) noexcept {
  std::size_t at = 0;
  const auto is = [&](char a, char b) { return at < text.size() && (text[at] == a || text[at] == b); };
  const auto digits = [&] {
    const std::size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at > begin;
  };
  whole = true;
  if (is('-', '-')) ++at;
  if (is('0', '0')) {
    ++at;
  } else if (!digits()) {
    return 0;
  }
  if (is('.', '.')) {
    whole = false;
    ++at;
    if (!digits()) return 0;
  }
  if (is('e', 'E')) {
    whole = false;
    ++at;
    if (is('+', '-')) ++at;
    if (!digits()) return 0;
  }
  return at;
}

template <typename T>
std::optional<T> whole_number(std::string_view text) noexcept {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<AnswerJson> JsonReader::read() {
  static_cast<void>(take(kByteOrderMark));
  AnswerJson out;
  if (!value(out)) return std::nullopt;
  skip_blanks();
  return rest_.empty() ? std::optional(std::move(out)) : std::nullopt;
}

bool JsonReader::value(AnswerJson& out) {
  if (values_left_ == 0) return false;
  --values_left_;
  skip_blanks();
  if (rest_.empty()) return false;
  switch (rest_.front()) {
    case '{':
      return object(out);
    case '[':
      return array(out);
    case '"':
      out = AnswerJson(AnswerJson::value_t::string);
      // In its place, which is locked also where the text is so short that it stands in the string object.
      return text(out.get_ref<LockedText&>());
    case 't':
      out = true;
      return take("true");
    case 'f':
      out = false;
      return take("false");
    case 'n':
      out = nullptr;
      return take("null");
    default:
      return number(out);
  }
}

bool JsonReader::object(AnswerJson& out) {
  if (depth_left_ == 0 || !take("{")) return false;
  --depth_left_;
  out = AnswerJson(AnswerJson::value_t::object);
  auto& members = out.get_ref<AnswerJson::object_t&>();
  skip_blanks();
  while (!take("}")) {
    if (!members.empty() && !take(",")) return false;
    skip_blanks();
    LockedText name;
    if (!text(name)) return false;
    skip_blanks();
    if (!take(":") || !value(members[std::move(name)])) return false;
    skip_blanks();
  }
  ++depth_left_;
  return true;
}

bool JsonReader::array(AnswerJson& out) {
  if (depth_left_ == 0 || !take("[")) return false;
  --depth_left_;
  out = AnswerJson(AnswerJson::value_t::array);
  auto& elements = out.get_ref<AnswerJson::array_t&>();
  skip_blanks();
  while (!take("]")) {
    if (!elements.empty() && !take(",")) return false;
    if (!value(elements.emplace_back())) return false;
    skip_blanks();
  }
  ++depth_left_;
  return true;
}

bool JsonReader::text(LockedText& out) {
  if (!take("\"")) return false;
  while (!take("\"")) {
    if (rest_.starts_with('\\')) {
      if (!escape(out)) return false;
      continue;
    }
    std::size_t plain = 0;
    while (plain < rest_.size() && rest_[plain] != '"' && rest_[plain] != '\\') {
      const std::size_t length = utf8_sequence(rest_.substr(plain));
      if (length == 0 || static_cast<unsigned char>(rest_[plain]) < 0x20) return false;
      plain += length;
    }
    if (plain == 0) return false;  // the end of the answer
    out.append(rest_.substr(0, plain));
    rest_.remove_prefix(plain);
  }
  return true;
}

bool JsonReader::escape(LockedText& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  if (rest_.size() < 2) return false;
  const char name = rest_[1];
  if (const std::size_t at = kNames.find(name); at != std::string_view::npos) {
    out += kMeanings[at];
    rest_.remove_prefix(2);
    return true;
  }
  const auto is_high = [](char32_t unit) { return unit >= 0xD800 && unit < 0xDC00; };
  const auto is_low = [](char32_t unit) { return unit >= 0xDC00 && unit < 0xE000; };
  const auto first = hex_unit();
  if (!first || is_low(*first)) return false;
  char32_t code = *first;
  if (is_high(code)) {
    const auto second = hex_unit();
    if (!second || !is_low(*second)) return false;
    code = 0x10000 + ((code - 0xD800) << 10U) + (*second - 0xDC00);
  }
  append_utf8(out, code);
  return true;
}

std::optional<char32_t> JsonReader::hex_unit() noexcept {
  constexpr std::size_t kLength = 6;  // a backslash, u and four hexadecimal digits
  if (rest_.size() < kLength || !rest_.starts_with("\\u")) return std::nullopt;
  std::uint32_t unit = 0;
  const char* const digits = rest_.data() + 2;
  const auto [end, error] = std::from_chars(digits, rest_.data() + kLength, unit, 16);
  if (error != std::errc() || end != rest_.data() + kLength) return std::nullopt;
  rest_.remove_prefix(kLength);
  return static_cast<char32_t>(unit);
}

bool JsonReader::number(AnswerJson& out) {
  bool whole = false;
  const std::string_view digits = rest_.substr(0, number_length(rest_, whole));
  if (digits.empty()) return false;
  rest_.remove_prefix(digits.size());
  if (whole && digits.front() == '-') {
    if (const auto value = whole_number<std::int64_t>(digits)) {
      out = *value;
      return true;
    }
  } else if (whole) {
    if (const auto value = whole_number<std::uint64_t>(digits)) {
      out = *value;
      return true;
    }
  }
  const double value = std::strtod(std::string(digits).c_str(), nullptr);
  out = value;
  return std::isfinite(value);
}

void JsonReader::skip_blanks() noexcept {
  rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size()));
}

bool JsonReader::take(std::string_view wanted) noexcept {
  if (!rest_.starts_with(wanted)) return false;
  rest_.remove_prefix(wanted.size());
  return true;
}

}  // namespace vaultfs
