#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "crypto/keyvault/http/exchange.h"

namespace vaultfs {

// What is tried again, and when.
struct HttpRetryPlan {
  std::span<const std::chrono::milliseconds> pauses;  // before each further attempt, without jitter
  bool not_found = false;                             // also on 404, as the metadata service wants it
  bool repeatable = true;  // if not, only where the server says that it did nothing (429, 503)
};

// 3 more attempts, exponentially from 0.8 s.
extern const HttpRetryPlan kServiceRetries;
// As the metadata service of an Azure machine asks for: 0, 2, 6, 14, 30 s.
extern const HttpRetryPlan kMetadataRetries;
// A single attempt.
extern const HttpRetryPlan kNoRetries;
// The same pauses as for a service, for what must not be done twice, as a rotation.
extern const HttpRetryPlan kUnrepeatable;

// True for the statuses after which the same request may succeed later.
[[nodiscard]] bool is_worth_retrying(const HttpRetryPlan& plan, int status) noexcept;

// How long the server asks to wait: retry-after-ms and x-ms-retry-after-ms (milliseconds), Retry-After (seconds or an
// IMF-fixdate, RFC 9110 section 10.2.3), the first that can be read; at most a day. Nothing if it does not say.
[[nodiscard]] std::optional<std::chrono::milliseconds> retry_after(const HttpAnswer& answer,
                                                                   std::int64_t now_unix_seconds);

// The pause before attempt `retry` (from 0), moved by up to a fifth either way by `random`, never beyond 60 s.
[[nodiscard]] std::chrono::milliseconds pause_before(const HttpRetryPlan& plan, std::size_t retry,
                                                     std::uint32_t random) noexcept;

// Unix seconds of "Sun, 06 Nov 1994 08:49:37 GMT"; nothing for another form or before 1970.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(std::string_view text);

}  // namespace vaultfs
