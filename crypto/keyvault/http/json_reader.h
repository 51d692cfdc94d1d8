#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "crypto/keyvault/http/json_answer.h"

namespace vaultfs {

// Reads one JSON value (RFC 8259) into locked memory. The library's own lexer gathers every string in a buffer of
// ordinary memory before it becomes a value, which would leave unwrapped keys and tokens in the heap; here texts go
// from the answer's bytes into their place and nowhere else. Strict: UTF-8 is checked, nothing may follow the value,
// and of two members of one name the later one counts. Tokens that are no texts may pass through ordinary memory.
//
// May throw std::bad_alloc, if no more memory can be locked. Used once.
class JsonReader {
 public:
  // What is nested deeper, or has more values, is not read: foreign bytes decide neither the stack nor how much memory
  // is locked.
  JsonReader(std::string_view text, std::size_t depth_limit, std::size_t value_limit) noexcept
      : rest_(text), depth_left_(depth_limit), values_left_(value_limit) {}

  // Nothing if the text is no JSON value, or goes beyond a limit.
  [[nodiscard]] std::optional<AnswerJson> read();

 private:
  [[nodiscard]] bool value(AnswerJson& out);
  [[nodiscard]] bool object(AnswerJson& out);
  [[nodiscard]] bool array(AnswerJson& out);
  [[nodiscard]] bool text(LockedText& out);
  [[nodiscard]] bool escape(LockedText& out);
  [[nodiscard]] bool number(AnswerJson& out);

  void skip_blanks() noexcept;
  // Takes that off the front of the rest, if it is there.
  [[nodiscard]] bool take(std::string_view wanted) noexcept;
  [[nodiscard]] std::optional<char32_t> hex_unit() noexcept;

  std::string_view rest_;
  std::size_t depth_left_;
  std::size_t values_left_;
};

}  // namespace vaultfs
