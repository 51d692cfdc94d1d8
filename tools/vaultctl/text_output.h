#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/visible_text.h"

namespace vaultfs {

// "1.4 GiB"; below 1 KiB "17 B".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
// "42 s", "3 min 10 s".
[[nodiscard]] std::string human_seconds(double seconds);
// A JSON value as a person reads it: texts without quotes, null as "-", booleans as yes and no.
[[nodiscard]] std::string plain(const nlohmann::json& value);

// All that the commands print goes through here, because names that strangers chose are in all of it: what a word or
// number becomes in a line, a text by visible_text().
class Shown {
 public:
  Shown(std::string_view text) : text_(visible_text(text)) {}        // NOLINT(google-explicit-constructor): an argument
  Shown(const std::string& text) : Shown(std::string_view(text)) {}  // NOLINT(google-explicit-constructor)
  Shown(const char* text) : Shown(std::string_view(text)) {}         // NOLINT(google-explicit-constructor)
  Shown(std::integral auto number) : text_(std::to_string(number)) {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

// The pattern with each %s, %u, %zu … replaced by the next argument, whatever its letters say; %% is a percent sign.
[[nodiscard]] std::string shown_line(std::string_view pattern, std::initializer_list<Shown> arguments);

// One line on stderr that is drawn over and over in place, without control characters but the return to its begin. What
// say() and tell() write takes it away. `text` is at most as wide as the terminal less one. Thread-safe.
void draw_line(const std::string& text);
void erase_drawn_line();

// A line (or more) to stdout, as std::printf writes it, but every argument as Shown has it.
template <typename... Arguments>
void say(std::string_view pattern, const Arguments&... arguments) {
  erase_drawn_line();
  static_cast<void>(std::fputs(shown_line(pattern, {Shown(arguments)...}).c_str(), stdout));
}
// The same to stderr.
template <typename... Arguments>
void tell(std::string_view pattern, const Arguments&... arguments) {
  erase_drawn_line();
  static_cast<void>(std::fputs(shown_line(pattern, {Shown(arguments)...}).c_str(), stderr));
}
// JSON to stdout, all of it ASCII: what is beyond is \uNNNN, so that a terminal shows it harmlessly and a program reads
// the same. Bytes that are no UTF-8 become U+FFFD.
void print_json(const nlohmann::json& value);

// "3 damaged chunks healed in 2 points." of a form with `healed_chunks` and `healed_points`.
void print_healed(const nlohmann::json& form);

// Rows under headings, columns aligned by their widest cell, to stdout.
void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);
// "Label:   value" lines.
void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);
// The "key_expiry" of a form: one line, or nothing for null.
void print_key_expiry(const nlohmann::json& expiry);

}  // namespace vaultfs
