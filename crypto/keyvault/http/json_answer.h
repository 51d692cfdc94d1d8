#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/locked_text.h"

namespace vaultfs {

// A key vault's answer. Its texts and values are in locked memory that is wiped when they go; made by parse_answer
// only, because the library's own parser leaves texts in ordinary memory (json_reader.h).
using AnswerJson =
    nlohmann::basic_json<std::map, std::vector, LockedText, bool, std::int64_t, std::uint64_t, double, LockedAllocator>;

// Parses one JSON object without exceptions. KeyVaultUnavailable for anything else, for nesting deeper than 32 and for
// more than 50,000 values: foreign bytes decide neither the stack nor how much memory is locked.
[[nodiscard]] Result<AnswerJson> parse_answer(std::string_view text);

// The member, or null if `object` is none or has no member of that name.
[[nodiscard]] const AnswerJson* member(const AnswerJson& object, const char* name) noexcept;
// The same, without regard to upper and lower case, which services do not keep to in their errors.
[[nodiscard]] const AnswerJson* member_of_any_case(const AnswerJson& object, std::string_view name) noexcept;

// The value of a member of that type; null or nothing if it is missing or of another type.
[[nodiscard]] const LockedText* text_member(const AnswerJson& object, const char* name) noexcept;
[[nodiscard]] std::optional<bool> bool_member(const AnswerJson& object, const char* name) noexcept;
// A whole number that fits.
[[nodiscard]] std::optional<std::int64_t> integer_member(const AnswerJson& object, const char* name) noexcept;
[[nodiscard]] std::optional<std::int64_t> integer_value(const AnswerJson& value) noexcept;

// Appends `text` as a JSON string with its quotes. REQUIRES: valid UTF-8.
void append_json_string(LockedText& out, std::string_view text);

// For messages and ids: a copy outside of locked memory.
[[nodiscard]] inline std::string plain(const LockedText& text) { return {text.data(), text.size()}; }

}  // namespace vaultfs
