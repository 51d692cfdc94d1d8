#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/http/exchange.h"
#include "crypto/keyvault/http/retry.h"

namespace vaultfs {

// What a provider reaches its server through; tests replace both.
struct HttpMeans {
  std::shared_ptr<HttpTransport> transport;
  std::function<void(std::chrono::milliseconds)> pause;  // sleeps
};

// The requests of one call to a key vault, within one time limit that spans retries and pauses. Not thread-safe.
class HttpCall {
 public:
  // An answer that settles the matter although its status would be tried again.
  using IsFinal = std::function<bool(const HttpAnswer&)>;

  // Starts the clock. `means` and `env` must outlive the call.
  HttpCall(Env& env, const HttpMeans& means, std::chrono::milliseconds timeout);

  // The answer, also if its status tells of an error, after the retries of the plan. KeyVaultUnavailable if there is
  // none in time, if it is a redirect (never followed: what it leads to was not configured), or if the connection is
  // not to be trusted; the transport's errors about the machine's own files and memory.
  [[nodiscard]] Result<HttpAnswer> send(const HttpRequest& request, const HttpRetryPlan& plan = kServiceRetries,
                                        const IsFinal& is_final = {});

  // What is left of the time; not negative.
  [[nodiscard]] std::chrono::milliseconds remaining() const;
  // The time limit begins anew, but all of the call takes no longer than `whole`: for a sequence of requests whose
  // number is the server's to say.
  void renew(std::chrono::milliseconds whole);

 private:
  [[nodiscard]] Result<HttpAnswer> attempt(const HttpRequest& request);
  [[nodiscard]] std::chrono::milliseconds pause_for(const HttpRetryPlan& plan, std::size_t retry,
                                                    const Result<HttpAnswer>& result);

  Env& env_;
  const HttpMeans& means_;
  const std::chrono::milliseconds timeout_;
  const std::int64_t started_nanos_;
  std::int64_t ends_nanos_;  // of the time limit
  std::unique_ptr<HttpSession> session_;
};

// Foreign text as it may stand in a message: see printable(); withheld as a whole if it repeats anything that the
// request carried and that may be a secret.
[[nodiscard]] std::string quotable(std::string_view foreign, const HttpRequest& request);

// Calls `f`, which returns a Result or Status; a lack of locked memory is its MemoryLockFailed, no exception.
template <typename F>
[[nodiscard]] auto without_bad_alloc(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::MemoryLockFailed,
                 "no more locked memory for a call to a key vault; raise the limit (ulimit -l, LimitMEMLOCK=)"};
  }
}

// Sleeps the calling thread.
void sleep_for_real(std::chrono::milliseconds pause);

}  // namespace vaultfs
