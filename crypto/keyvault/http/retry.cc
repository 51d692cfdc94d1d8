#include "crypto/keyvault/http/retry.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <string>

#include "base/clock.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

constexpr std::array<milliseconds, 3> kServicePauses{milliseconds(800), milliseconds(1600), milliseconds(3200)};
constexpr std::array<milliseconds, 5> kMetadataPauses{milliseconds(0), milliseconds(2000), milliseconds(6000),
                                                      milliseconds(14000), milliseconds(30000)};
constexpr milliseconds kLongestPause{60000};

// A whole text of decimal digits.
std::optional<std::int64_t> number(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.front() == '-' || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

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
  const std::time_t seconds = ::curl_getdate(std::string(text).c_str(), nullptr);
  std::tm parts{};
  if (seconds < 0 || ::gmtime_r(&seconds, &parts) == nullptr) return std::nullopt;
  // libcurl takes many forms, and days that the month does not have. Written back it has to be what was given.
  std::array<char, 40> back{};
  const std::size_t length = std::strftime(back.data(), back.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (text != std::string_view(back.data(), length)) return std::nullopt;
  return seconds;
}

}  // namespace vaultfs
