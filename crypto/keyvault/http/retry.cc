#include "crypto/keyvault/http/retry.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/clock.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

constexpr std::array<milliseconds, 3> kServicePauses{milliseconds(800), milliseconds(1600), milliseconds(3200)};
constexpr std::array<milliseconds, 5> kMetadataPauses{milliseconds(0), milliseconds(2000), milliseconds(6000),
                                                      milliseconds(14000), milliseconds(30000)};
constexpr milliseconds kLongestPause{60000};
constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// A whole text of decimal digits.
std::optional<std::int64_t> number(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.front() == '-' || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

struct CivilTime {
  std::optional<std::int64_t> year, month, day, hour, minute, second;

  [[nodiscard]] std::optional<std::int64_t> unix_seconds() const {
    if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day))};
    // 60 is a leap second.
    if (*year < 1970 || *year > 9999 || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
    return std::chrono::sys_days{date}.time_since_epoch().count() * kSecondsPerDay + *hour * 3600 + *minute * 60 +
           *second;
  }
};

}  // namespace

constinit const HttpRetryPlan kServiceRetries{.pauses = kServicePauses};
constinit const HttpRetryPlan kMetadataRetries{.pauses = kMetadataPauses, .not_found = true};
constinit const HttpRetryPlan kNoRetries{};
constinit const HttpRetryPlan kUnrepeatable{.pauses = kServicePauses, .repeatable = false};

bool is_worth_retrying(const HttpRetryPlan& plan, int status) noexcept {
  switch (status) {
    case 429:
    case 503:
      return true;
    case 408:
    case 500:
    case 502:
    case 504:
      return plan.repeatable;
    case 404:
      return plan.not_found;
    default:
      return false;
  }
}

std::optional<milliseconds> retry_after(const HttpAnswer& answer, std::int64_t now_unix_seconds) {
  constexpr std::int64_t kLongest = kSecondsPerDay * 1000;
  for (const std::string_view name : {"retry-after-ms", "x-ms-retry-after-ms"}) {
    const std::string* const value = answer.header(name);
    if (value == nullptr) continue;
    if (const auto wanted = number(*value)) return milliseconds(std::min(*wanted, kLongest));
  }
  const std::string* const value = answer.header("retry-after");
  if (value == nullptr) return std::nullopt;
  if (const auto seconds = number(*value)) return milliseconds(std::min(*seconds, kSecondsPerDay) * 1000);
  const auto date = parse_http_date(*value);
  if (!date) return std::nullopt;
  return milliseconds(std::clamp<std::int64_t>(*date - now_unix_seconds, 0, kSecondsPerDay) * 1000);
}

milliseconds pause_before(const HttpRetryPlan& plan, std::size_t retry, std::uint32_t random) noexcept {
  if (retry >= plan.pauses.size()) return milliseconds(0);
  // 80 % to 120 %: processes that failed together do not come back together.
  const std::int64_t percent = 80 + random % 41;
  return std::min(kLongestPause, milliseconds(plan.pauses[retry].count() * percent / 100));
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  constexpr std::string_view kForm = "Sun, 06 Nov 1994 08:49:37 GMT";
  if (text.size() != kForm.size() || text.substr(25) != " GMT" || text.substr(3, 2) != ", ") return std::nullopt;
  if (text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':') return std::nullopt;
  const auto* const month = std::ranges::find(kMonths, text.substr(8, 3));
  if (month == kMonths.end()) return std::nullopt;
  return CivilTime{number(text.substr(12, 4)), month - kMonths.begin() + 1, number(text.substr(5, 2)),
                   number(text.substr(17, 2)), number(text.substr(20, 2)),  number(text.substr(23, 2))}
      .unix_seconds();
}

std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
  if (text.size() < 20 || text.size() > 64 || text[4] != '-' || text[7] != '-' || (text[10] | 0x20) != 't' ||
      text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  const auto local = CivilTime{number(text.substr(0, 4)),  number(text.substr(5, 2)),  number(text.substr(8, 2)),
                               number(text.substr(11, 2)), number(text.substr(14, 2)), number(text.substr(17, 2))}
                         .unix_seconds();
  if (!local) return std::nullopt;
  std::string_view rest = text.substr(19);
  if (rest.front() == '.') {
    const std::size_t end = rest.find_first_not_of("0123456789", 1);
    if (end == std::string_view::npos || end == 1) return std::nullopt;
    rest = rest.substr(end);
  }
  if (rest == "Z" || rest == "z") return local;
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':') return std::nullopt;
  const auto hours = number(rest.substr(1, 2));
  const auto minutes = number(rest.substr(4, 2));
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const std::int64_t offset = *hours * 3600 + *minutes * 60;
  return rest[0] == '+' ? *local - offset : *local + offset;
}

}  // namespace vaultfs
