#include "base/rfc3339.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

#include "base/clock.h"

namespace vaultfs {
namespace {

constexpr std::string_view kTimeForm = "0000-00-00T00:00:00";
constexpr std::string_view kOffsetForm = "+00:00";

bool is_decimal(char c) noexcept { return c >= '0' && c <= '9'; }

// Whether the text has digits where the form has zeros, and the form's own characters elsewhere.
bool has_form(std::string_view text, std::string_view form) noexcept {
  return std::ranges::equal(text, form, [](char c, char f) { return f == '0' ? is_decimal(c) : c == f; });
}

// `count` digits.
int digits(std::string_view text, std::size_t at, std::size_t count) noexcept {
  int value = 0;
  std::from_chars(text.data() + at, text.data() + at + count, value);
  return value;
}

// Unix seconds of "2021-10-01T12:00:00".
std::optional<std::int64_t> civil_seconds(std::string_view text) noexcept {
  using namespace std::chrono;
  if (!has_form(text, kTimeForm)) return std::nullopt;
  const year_month_day date(year(digits(text, 0, 4)), month(static_cast<unsigned>(digits(text, 5, 2))),
                            day(static_cast<unsigned>(digits(text, 8, 2))));
  const int h = digits(text, 11, 2);
  const int m = digits(text, 14, 2);
  const int s = digits(text, 17, 2);
  // 60 is a leap second.
  if (date.year() < year(1970) || !date.ok() || h > 23 || m > 59 || s > 60) return std::nullopt;
  return sys_seconds(sys_days(date) + hours(h) + minutes(m) + seconds(s)).time_since_epoch().count();
}

// Seconds that a zone is before UTC: of "Z" and "+02:00".
std::optional<std::int64_t> zone_seconds(std::string_view text) {
  if (text == "Z") return 0;
  std::string form(kOffsetForm);
  if (text.starts_with('-')) form[0] = '-';
  if (!has_form(text, form)) return std::nullopt;
  const int h = digits(text, 1, 2);
  const int m = digits(text, 4, 2);
  if (h > 23 || m > 59) return std::nullopt;
  return (form[0] == '-' ? -1 : 1) * (h * 3600 + m * 60);
}

}  // namespace

std::optional<std::int64_t> parse_rfc3339(std::string_view given) {
  constexpr std::size_t kLongest = 64;
  if (given.size() <= kTimeForm.size() || given.size() > kLongest) return std::nullopt;
  std::string text(given);
  std::ranges::replace(text, 't', 'T');
  std::ranges::replace(text, 'z', 'Z');
  std::string_view rest = std::string_view(text).substr(kTimeForm.size());
  if (rest.starts_with('.')) {
    const std::size_t end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
    if (end == 1) return std::nullopt;
    rest.remove_prefix(end);
  }
  const auto local = civil_seconds(std::string_view(text).substr(0, kTimeForm.size()));
  const auto zone = zone_seconds(rest);
  if (!local || !zone) return std::nullopt;
  return *local - *zone;
}

std::optional<std::string> to_rfc3339_day(std::int64_t unix_seconds) {
  using namespace std::chrono;
  constexpr std::int64_t kFirst = sys_seconds(sys_days(year(0) / 1 / 1)).time_since_epoch().count();
  constexpr std::int64_t kEnd = sys_seconds(sys_days(year(10000) / 1 / 1)).time_since_epoch().count();
  if (unix_seconds < kFirst || unix_seconds >= kEnd) return std::nullopt;
  const year_month_day date(floor<days>(sys_seconds(seconds(unix_seconds))));
  std::array<char, 40> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), "%04d-%02u-%02u", static_cast<int>(date.year()),
                                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day())));
  return text.data();
}

std::optional<std::string> to_rfc3339(std::int64_t unix_seconds) {
  auto text = to_rfc3339_day(unix_seconds);
  if (!text) return std::nullopt;
  const auto of_day = static_cast<int>((unix_seconds % kSecondsPerDay + kSecondsPerDay) % kSecondsPerDay);
  std::array<char, 40> time{};
  static_cast<void>(
      std::snprintf(time.data(), time.size(), "T%02d:%02d:%02dZ", of_day / 3600, of_day / 60 % 60, of_day % 60));
  return text->append(time.data());
}

}  // namespace vaultfs
