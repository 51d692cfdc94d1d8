#include "crypto/keyvault/http/json_answer.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "base/ascii.h"
#include "crypto/keyvault/http/json_reader.h"

namespace vaultfs {
namespace {

constexpr std::size_t kDepthLimit = 32;
constexpr std::size_t kAnswerValueLimit = 50'000;

Error malformed(const char* why) {
  return {ErrorCode::KeyVaultUnavailable, std::string("the answer is no key vault's: ") + why};
}

}  // namespace

Result<AnswerJson> parse_answer(std::string_view text) {
  try {
    auto parsed = JsonReader(text, kDepthLimit, kAnswerValueLimit).read();
    if (!parsed) return malformed("it is not JSON, was cut short, is nested too deeply or has too many values");
    if (!parsed->is_object()) return malformed("it is no JSON object");
    return *std::move(parsed);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::MemoryLockFailed,
                 "no more locked memory for a key vault's answer; raise the limit (ulimit -l, LimitMEMLOCK=)"};
  }
}

const AnswerJson* member(const AnswerJson& object, const char* name) noexcept {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

const AnswerJson* member_of_any_case(const AnswerJson& object, std::string_view name) noexcept {
  if (!object.is_object()) return nullptr;
  for (auto it = object.begin(); it != object.end(); ++it) {
    const LockedText& key = it.key();
    if (std::ranges::equal(key, name, [](char a, char b) { return ascii_lower(a) == ascii_lower(b); })) return &*it;
  }
  return nullptr;
}

const LockedText* text_member(const AnswerJson& object, const char* name) noexcept {
  const AnswerJson* const value = member(object, name);
  return value != nullptr && value->is_string() ? &value->get_ref<const LockedText&>() : nullptr;
}

std::optional<bool> bool_member(const AnswerJson& object, const char* name) noexcept {
  const AnswerJson* const value = member(object, name);
  if (value == nullptr || !value->is_boolean()) return std::nullopt;
  return value->get_ref<const bool&>();
}

std::optional<std::int64_t> integer_value(const AnswerJson& value) noexcept {
  // The library keeps what is not negative as unsigned and turns what exceeds 64 bits into a floating-point number.
  constexpr std::uint64_t kLimit = std::numeric_limits<std::int64_t>::max();
  if (value.is_number_unsigned()) {
    const std::uint64_t number = value.get_ref<const std::uint64_t&>();
    return number <= kLimit ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
  }
  if (!value.is_number_integer()) return std::nullopt;
  return value.get_ref<const std::int64_t&>();
}

std::optional<std::int64_t> integer_member(const AnswerJson& object, const char* name) noexcept {
  const AnswerJson* const value = member(object, name);
  return value == nullptr ? std::nullopt : integer_value(*value);
}

void append_json_string(LockedText& out, std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out.append("\\u00");
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace vaultfs
