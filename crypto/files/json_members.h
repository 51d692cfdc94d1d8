#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/base64.h"

namespace vaultfs {

// Reads the members of one JSON object of the machine's state, with every type checked and without exceptions. Like a
// ByteReader: the first wrong member sets the error, later reads give empty values, and the caller asks once at the
// end. `where` names the file (and the place in it) for the message; both arguments must outlive the reader.
class JsonMembers {
 public:
  JsonMembers(const nlohmann::json& object, const std::string& where) : object_(object), where_(where) {
    if (!object.is_object()) fail("is no JSON object");
  }

  std::string text(const char* name) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return {};
    if (!member->is_string()) return wrong<std::string>(name, "a text");
    return member->get_ref<const std::string&>();
  }

  bool boolean(const char* name) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return false;
    if (!member->is_boolean()) return wrong<bool>(name, "true or false");
    return member->get<bool>();
  }

  std::int64_t integer(const char* name) {
    const nlohmann::json* member = find(name);
    return member == nullptr ? 0 : integer_of(*member, name);
  }

  // A member that may be absent or null.
  std::optional<std::int64_t> optional_integer(const char* name) {
    if (!object_.is_object()) return std::nullopt;
    const auto it = object_.find(name);
    if (it == object_.end() || it->is_null()) return std::nullopt;
    return integer_of(*it, name);
  }

  Bytes base64(const char* name) {
    const std::string value = text(name);
    Bytes bytes;
    if (!failed() && !from_base64(value, bytes)) return wrong<Bytes>(name, "base64");
    return bytes;
  }

  // A member that is an object of texts only: options of a provider or an identity.
  std::map<std::string, std::string> texts(const char* name) {
    std::map<std::string, std::string> all;
    const nlohmann::json* member = find(name);
    if (member == nullptr) return all;
    if (!member->is_object()) return wrong<std::map<std::string, std::string>>(name, "an object of texts");
    for (const auto& [key, value] : member->items()) {
      if (!value.is_string()) return wrong<std::map<std::string, std::string>>(name, "an object of texts");
      all.emplace(key, value.get_ref<const std::string&>());
    }
    return all;
  }

  // Null (and the error is set) unless the member is an array.
  const nlohmann::json* array(const char* name) {
    const nlohmann::json* member = find(name);
    if (member != nullptr && !member->is_array()) {
      fail("member \"" + std::string(name) + "\" is not a list");
      return nullptr;
    }
    return member;
  }

  void fail(const std::string& why) {
    if (!error_)
      error_ =
          Error{ErrorCode::DamagedMachineState, where_ + " is damaged: " + why + "; correct it or put back a copy"};
  }
  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] Status finish() const { return error_ ? Status(*error_) : ok_status(); }

 private:
  const nlohmann::json* find(const char* name) {
    if (failed()) return nullptr;
    const auto it = object_.find(name);
    if (it == object_.end()) {
      fail("member \"" + std::string(name) + "\" is missing");
      return nullptr;
    }
    return &*it;
  }

  std::int64_t integer_of(const nlohmann::json& member, const char* name) {
    // The library keeps what is not negative as unsigned and turns what exceeds 64 bits into a floating-point number.
    constexpr std::uint64_t kLimit = std::numeric_limits<std::int64_t>::max();
    if (!member.is_number_integer() || (member.is_number_unsigned() && member.get<std::uint64_t>() > kLimit)) {
      return wrong<std::int64_t>(name, "a whole number");
    }
    return member.get<std::int64_t>();
  }

  template <typename T>
  T wrong(const char* name, const char* expected) {
    fail("member \"" + std::string(name) + "\" is not " + expected);
    return T{};
  }

  const nlohmann::json& object_;
  const std::string& where_;
  std::optional<Error> error_;
};

// Parses a JSON object whose member "format" must be `format`: UnsupportedFormat if it is higher, DamagedMachineState
// naming `where` if the text is no such object.
[[nodiscard]] inline Result<nlohmann::json> parse_json_state(std::string_view text, std::int64_t format,
                                                             const std::string& where) {
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) {
    return Error{ErrorCode::DamagedMachineState,
                 where + " is damaged: it is not valid JSON or was cut short; correct it or put back a copy"};
  }
  JsonMembers members(parsed, where);
  const std::int64_t stored = members.integer("format");
  if (!members.failed() && stored > format) {
    return Error{ErrorCode::UnsupportedFormat, where + " was written by a newer vaultfs; use that one"};
  }
  if (stored != format) members.fail("its format number is unknown");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return parsed;
}

// The text of a state file: indented for the people who edit it, with a newline at its end.
[[nodiscard]] inline std::string json_state_text(const nlohmann::ordered_json& state) {
  return state.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace vaultfs
