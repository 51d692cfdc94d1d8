#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vaultfs {

// Times as text (RFC 3339). Seconds since 1970 in UTC, without leap seconds.

// Of a time such as 2021-10-01T12:00:00.123Z or …+02:00, from 1970 to 9999; fractions are cut off, a leap second is the
// one behind it. Nothing for another form, or for a time that no calendar has.
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339(std::string_view text);

// "2021-10-01T12:00:00Z"; nothing beyond the years 0 to 9999, which the form has.
[[nodiscard]] std::optional<std::string> to_rfc3339(std::int64_t unix_seconds);

// Its day alone: "2021-10-01".
[[nodiscard]] std::optional<std::string> to_rfc3339_day(std::int64_t unix_seconds);

}  // namespace vaultfs
