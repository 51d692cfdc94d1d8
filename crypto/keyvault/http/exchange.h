#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/memory/locked_text.h"

namespace vaultfs {

inline constexpr std::size_t kHttpAnswerLimitBytes = std::size_t{1024} * 1024;

struct HttpRequest {
  std::string method = "GET";
  HttpUrl url;
  std::vector<std::pair<std::string, LockedText>> headers;  // values may be secrets
  LockedText body;
  std::string content_type;  // of the body; empty if there is none
  std::chrono::milliseconds connect_timeout{5000};
  bool use_proxy = true;  // as the environment says; never for loopback
};

struct HttpAnswer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  LockedText body;

  // The first header of that (lower-case) name; null if there is none.
  [[nodiscard]] const std::string* header(std::string_view name) const noexcept {
    for (const auto& [key, value] : headers) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

// One after another, the exchanges of one call to a key vault; what it holds is closed and wiped with it. Not
// thread-safe.
class HttpSession {
 public:
  virtual ~HttpSession() = default;
  // Whatever status the server answers with is a success; redirects are not followed.
  //   TryAgain             no answer: not resolved, not connected, timed out, cut off; another attempt may get one
  //   KeyVaultUnavailable  no use to try again at once: untrusted certificate, an answer too large or out of protocol
  [[nodiscard]] virtual Result<HttpAnswer> exchange(const HttpRequest& request, std::chrono::milliseconds timeout) = 0;
};

// How requests reach their servers: curl, or a test's own answers. Thread-safe.
class HttpTransport {
 public:
  virtual ~HttpTransport() = default;
  [[nodiscard]] virtual Result<std::unique_ptr<HttpSession>> open_session() = 0;
};

}  // namespace vaultfs
