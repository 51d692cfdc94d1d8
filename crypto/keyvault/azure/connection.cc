#include "crypto/keyvault/azure/connection.h"

#include <utility>

#include "base/thread/mutex.h"
#include "crypto/keyvault/http/status.h"

namespace vaultfs {
namespace {

constexpr std::string_view kApiVersion = "7.4";

// What the inner code of a 403 says beyond the refusal.
ErrorCode meaning_of_forbidden(const AzureError& error) {
  const std::string_view code = error.inner_code;
  if (code == "KeyDisabled") return ErrorCode::KeyVersionDisabled;
  if (code == "KeyExpired") return ErrorCode::KeyVersionExpired;
  if (code == "KeyNotYetValid") return ErrorCode::KeyVersionNotYetValid;
  return ErrorCode::KeyVaultDenied;
}

// The code that the service has for a status of which something follows for keys.
bool fits_status(const AzureError& error, int status) {
  switch (status) {
    case kHttpUnauthorized:
      return error.is("Unauthorized");
    case kHttpForbidden:
      return error.is("Forbidden");
    case kHttpNotFound:
      return error.is("KeyNotFound");
    default:
      return true;
  }
}

Error refusal(const HttpRequest& request, const HttpAnswer& answer, bool opens) {
  const auto error = parse_azure_error(answer.body);
  const std::string status = "status " + std::to_string(answer.status);
  // A refusal counts in the service's own form and with its own code only: what stands in between, a proxy, a firewall,
  // a gateway without a backend, decides nothing about keys.
  if (!error) return {ErrorCode::KeyVaultUnavailable, "it gave an answer that decides nothing (" + status + ")"};
  std::string what = error->code;
  if (!error->inner_code.empty()) what += "/" + error->inner_code;
  const std::string said =
      " (" + status + ", " + quotable(what, request) + ": " + quotable(error->message, request) + ")";
  if (!fits_status(*error, answer.status)) {
    return {ErrorCode::KeyVaultUnavailable, "it gave an answer that decides nothing" + said};
  }
  switch (answer.status) {
    case kHttpBadRequest:
      if (opens && error->is("BadParameter"))
        return {ErrorCode::AuthenticationFailed, "it does not open what it was given" + said};
      return {ErrorCode::KeyVaultUnavailable, "it does not understand the request" + said};
    case kHttpUnauthorized:
      return {ErrorCode::KeyVaultDenied, "it does not take the identity's token" + said};
    case kHttpForbidden:
      return {meaning_of_forbidden(*error), "it denies the request" + said};
    case kHttpNotFound:
      return {ErrorCode::KeyNotFound, "it has no such key" + said};
    case kHttpConflict:
      return {ErrorCode::KeyExists, "the name is taken, or was until a deletion that can be undone" + said};
    default:
      return {ErrorCode::KeyVaultUnavailable, "it is not ready" + said};
  }
}

LockedText authorization(const SecretBuffer& token) {
  LockedText value("Bearer ");
  value.append(text_of(token.view()));
  return value;
}

}  // namespace

AzureConnection::AzureConnection(Env& env, std::string key_vault, AzureOptions options, HttpMeans means)
    : env_(env),
      key_vault_(std::move(key_vault)),
      options_(std::move(options)),
      means_(std::move(means)),
      login_(env, options_) {}

HttpRequest AzureConnection::request(std::string method, std::string_view kind, std::string_view name,
                                     std::string_view more, std::string_view verb) const {
  HttpRequest request;
  request.method = std::move(method);
  request.url = options_.address;
  for (const std::string_view segment : {kind, name, more, verb}) {
    if (!segment.empty()) request.url = request.url.at(segment);
  }
  request.url = request.url.with("api-version", kApiVersion);
  return request;
}

std::optional<AzureChallenge> AzureConnection::known_challenge() {
  const MutexLock lock(mutex_);
  return challenge_;
}

Result<AzureChallenge> AzureConnection::challenge_of(const HttpAnswer& answer) {
  const std::string* const header = answer.header("www-authenticate");
  if (header == nullptr) {
    return Error{ErrorCode::KeyVaultUnavailable, "it wants a login (status 401), but does not say which"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const AzureChallenge challenge, parse_azure_challenge(*header, options_.address));
  const MutexLock lock(mutex_);
  challenge_ = challenge;
  return challenge;
}

Result<HttpAnswer> AzureConnection::try_send(HttpCall& call, HttpRequest& request, const HttpRetryPlan& plan) {
  std::optional<AzureChallenge> challenge = known_challenge();
  if (!challenge) {
    // Without a token and without the body: what is in it is for nobody who has not been asked for yet.
    HttpRequest question = request;
    question.body.clear();
    question.content_type.clear();
    VAULTFS_ASSIGN_OR_RETURN(HttpAnswer answer, call.send(question, plan));
    if (answer.status == kHttpForbidden || answer.status == kHttpTooManyRequests || answer.status >= kHttpServerErrors)
      return answer;
    if (answer.status != kHttpUnauthorized) {
      return Error{ErrorCode::KeyVaultUnavailable, "it answers without a login, as no key vault does (status " +
                                                       std::to_string(answer.status) + "); check the address"};
    }
    VAULTFS_ASSIGN_OR_RETURN(challenge, challenge_of(answer));
  }
  AzureLogin::Token token;
  VAULTFS_ASSIGN_OR_RETURN(token, login_.token(call, *challenge, nullptr));
  request.headers.emplace_back("Authorization", authorization(*token));
  VAULTFS_ASSIGN_OR_RETURN(HttpAnswer answer, call.send(request, plan));
  if (answer.status != kHttpUnauthorized) return answer;
  // The token was revoked, or the key vault moved to another tenant: once more with a new one.
  VAULTFS_ASSIGN_OR_RETURN(challenge, challenge_of(answer));
  VAULTFS_ASSIGN_OR_RETURN(token, login_.token(call, *challenge, token));
  request.headers.back().second = authorization(*token);
  return call.send(request, plan);
}

Result<HttpAnswer> AzureConnection::send(HttpCall& call, HttpRequest request, const HttpRetryPlan& plan, bool opens) {
  if (!request.body.empty()) request.content_type = "application/json";
  const std::string context = "the key vault " + key_vault_;
  auto answer = try_send(call, request, plan);
  if (!answer.ok()) return with_context(answer.error(), context);
  if (answer->status >= 200 && answer->status < 300) return answer;
  return with_context(refusal(request, *answer, opens), context);
}

}  // namespace vaultfs
