#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/transit/options.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Requests to one Transit engine as one client, with its token: from a file, read anew for each, or by an AppRole login
// that is kept for its lease and repeated once when the server refuses it. What logins have got is revoked at the end,
// as far as the server can be reached within 2 s. Thread-safe; no lock is held across I/O.
class TransitConnection {
 public:
  TransitConnection(Env& env, std::string key_vault, TransitOptions options, HttpMeans means);
  TransitConnection(const TransitConnection&) = delete;
  TransitConnection& operator=(const TransitConnection&) = delete;
  ~TransitConnection();

  // A call, whose requests share one time limit.
  [[nodiscard]] HttpCall begin() const { return {env_, means_, options_.timeout}; }

  // The engine's resource MOUNT/PATH, as a request without a body.
  [[nodiscard]] HttpRequest request(std::string method, std::string_view kind, std::string_view name = {},
                                    std::string_view verb = {}) const;

  // The answer if its status is 200 or 204; else the error that it stands for:
  //   403, and only in the engine's own form           KeyVaultDenied
  //   what the engine says of keys, versions, ciphertexts   KeyNotFound, KeyVersionNotFound, KeyVersionDisabled,
  //                                                    KeyVersionExpired (no longer for wrapping), AuthenticationFailed
  //   everything else, as sealed, standby, mount missing    KeyVaultUnavailable
  [[nodiscard]] Result<HttpAnswer> send(HttpCall& call, HttpRequest request,
                                        const HttpRetryPlan& plan = kServiceRetries);

  [[nodiscard]] const TransitOptions& options() const noexcept { return options_; }

 private:
  struct Token {
    SecretBuffer text;
    std::optional<std::int64_t> expires_nanos;  // by the monotonic clock
  };
  struct Held {
    std::shared_ptr<const Token> token;
    bool fresh = false;  // made for this very call
  };

  [[nodiscard]] Result<Held> token(HttpCall& call);
  [[nodiscard]] Result<std::shared_ptr<const Token>> log_in(HttpCall& call);
  void drop(const std::shared_ptr<const Token>& token);
  void keep(const std::shared_ptr<const Token>& token);
  void revoke_logins();
  [[nodiscard]] bool is_usable(const Token& token) const;
  void add_namespace(HttpRequest& request) const;
  [[nodiscard]] Error refusal(HttpCall& call, const HttpRequest& request, const HttpAnswer& answer) const;
  [[nodiscard]] std::string state_of_server(HttpCall& call) const;

  Env& env_;
  const std::string key_vault_;
  const TransitOptions options_;
  const HttpMeans means_;
  Mutex mutex_;  // A leaf in the lock order.
  std::shared_ptr<const Token> login_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<const Token>> valid_
      GUARDED_BY(mutex_);  // login_, and what logins at the same time have got
};

}  // namespace vaultfs
