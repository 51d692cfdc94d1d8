#include "crypto/keyvault/http/client.h"

#include <algorithm>
#include <utility>

#include "base/thread/thread.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kNanosPerMilli = 1'000'000;

bool is_redirect(int status) noexcept { return status >= 300 && status < 400; }

Error redirect_error(const HttpRequest& request, const HttpAnswer& answer) {
  std::string to;
  if (const std::string* const location = answer.header("location")) {
    // The origin alone: the rest may carry what somebody else should not see in a message.
    const auto url = HttpUrl::parse(*location, "Location", PlainHttp::loopback, /*with_query=*/true);
    if (url.ok()) to = " to " + url->origin();
  }
  return {ErrorCode::KeyVaultUnavailable, request.url.origin() + " answered with a redirect (" +
                                              std::to_string(answer.status) + ")" + to +
                                              ", which is never followed; set the address to the server that answers"};
}

}  // namespace

void sleep_for_real(milliseconds pause) { sleep_for(pause); }

std::string quotable(std::string_view foreign, const HttpRequest& request) {
  // Shorter runs are words that texts have in common by chance.
  constexpr std::size_t kRun = 12;
  const std::string shown = printable(foreign);
  const auto repeats = [&](std::string_view sent) {
    if (sent.size() >= 6 && shown.find(sent) != std::string::npos) return true;
    for (std::size_t at = 0; at + kRun <= shown.size(); ++at) {
      if (sent.find(std::string_view{shown}.substr(at, kRun)) != std::string_view::npos) return true;
    }
    return false;
  };
  const bool withheld = repeats(request.body) || std::ranges::any_of(request.headers, [&](const auto& header) {
                          return repeats(header.second);
                        });
  return withheld ? "(a text that repeats the request, withheld)" : shown;
}

HttpCall::HttpCall(Env& env, const HttpMeans& means, milliseconds timeout)
    : env_(env),
      means_(means),
      timeout_(timeout),
      started_nanos_(env.clock().monotonic_nanos()),
      ends_nanos_(started_nanos_ + std::chrono::nanoseconds(timeout).count()) {}

milliseconds HttpCall::remaining() const {
  const std::int64_t left_nanos = ends_nanos_ - env_.clock().monotonic_nanos();
  return milliseconds(std::max<std::int64_t>(0, (left_nanos + kNanosPerMilli - 1) / kNanosPerMilli));
}

void HttpCall::renew(milliseconds whole) {
  const auto after = [](std::int64_t from, milliseconds time) { return from + std::chrono::nanoseconds(time).count(); };
  const std::int64_t anew = after(env_.clock().monotonic_nanos(), timeout_);
  ends_nanos_ = std::max(ends_nanos_, std::min(anew, after(started_nanos_, whole)));
}

Result<HttpAnswer> HttpCall::attempt(const HttpRequest& request) {
  if (!session_) {
    VAULTFS_ASSIGN_OR_RETURN(session_, means_.transport->open_session());
  }
  return session_->exchange(request, remaining());
}

milliseconds HttpCall::pause_for(const HttpRetryPlan& plan, std::size_t retry, const Result<HttpAnswer>& result) {
  std::uint32_t random = 0;
  env_.fill_random(std::as_writable_bytes(std::span(&random, 1)));
  if (result.ok()) {
    if (const auto wanted = retry_after(*result, env_.clock().now().seconds())) return *wanted;
  }
  return pause_before(plan, retry, random);
}

Result<HttpAnswer> HttpCall::send(const HttpRequest& request, const HttpRetryPlan& plan, const IsFinal& is_final) {
  Result<HttpAnswer> last =
      Error{ErrorCode::KeyVaultUnavailable, request.url.origin() + " was not asked: no time was left"};
  for (std::size_t retry = 0;; ++retry) {
    if (remaining() == milliseconds(0)) return last;
    Result<HttpAnswer> result = attempt(request);
    if (result.ok()) {
      if (is_redirect(result->status)) return redirect_error(request, *result);
      if (!is_worth_retrying(plan, result->status) || (is_final && is_final(*result))) return result;
    }
    if (!result.ok()) {
      Error error = result.error();
      const bool worthwhile = error.code == ErrorCode::TryAgain;
      if (worthwhile) error.code = ErrorCode::KeyVaultUnavailable;
      result = std::move(error);
      if (!worthwhile || !plan.repeatable) return result;
    }
    const milliseconds pause = pause_for(plan, retry, result);
    if (retry == plan.pauses.size() || pause >= remaining()) return result;
    last = std::move(result);
    means_.pause(pause);
  }
}

}  // namespace vaultfs
