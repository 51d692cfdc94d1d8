#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/azure/answers.h"
#include "crypto/keyvault/azure/login.h"
#include "crypto/keyvault/azure/options.h"
#include "crypto/keyvault/http/client.h"

namespace vaultfs {

// Requests to one Azure Key Vault, with a token that its own challenge asks for; a token that it no longer takes is
// renewed once. Thread-safe; no lock is held across I/O.
class AzureConnection {
 public:
  AzureConnection(Env& env, std::string key_vault, AzureOptions options, HttpMeans means);

  // A call, whose requests share one time limit.
  [[nodiscard]] HttpCall begin() const { return {env_, means_, options_.timeout}; }

  // The resource /KIND[/NAME[/MORE[/VERB]]] with the api-version, as a request without a body. What is empty is left
  // out.
  [[nodiscard]] HttpRequest request(std::string method, std::string_view kind, std::string_view name = {},
                                    std::string_view more = {}, std::string_view verb = {}) const;

  // The answer if its status is 2xx; else the error that it stands for, if it comes in the service's own form and with
  // the code that the service has for that status:
  //   404  KeyNotFound      409  KeyExists      401, 403  KeyVaultDenied, or, as its inner code says,
  //   KeyVersionDisabled, KeyVersionExpired, KeyVersionNotYetValid
  //   400  AuthenticationFailed if `opens` (the request was to open something), else KeyVaultUnavailable
  // and KeyVaultUnavailable for everything else; the login's errors.
  [[nodiscard]] Result<HttpAnswer> send(HttpCall& call, HttpRequest request,
                                        const HttpRetryPlan& plan = kServiceRetries, bool opens = false);

  [[nodiscard]] const AzureOptions& options() const noexcept { return options_; }

 private:
  [[nodiscard]] Result<HttpAnswer> try_send(HttpCall& call, HttpRequest& request, const HttpRetryPlan& plan);
  [[nodiscard]] Result<AzureChallenge> challenge_of(const HttpAnswer& answer);
  [[nodiscard]] std::optional<AzureChallenge> known_challenge();

  Env& env_;
  const std::string key_vault_;
  const AzureOptions options_;
  const HttpMeans means_;
  AzureLogin login_;
  Mutex mutex_;  // A leaf in the lock order.
  std::optional<AzureChallenge> challenge_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
