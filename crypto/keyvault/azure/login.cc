#include "crypto/keyvault/azure/login.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "crypto/files/private_file.h"
#include "crypto/keyvault/azure/assertion.h"
#include "crypto/keyvault/http/options.h"
#include "crypto/keyvault/http/status.h"
#include "crypto/keyvault/http/url.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kLongestMarginSeconds = 300;
constexpr std::size_t kCertificateLimitBytes = std::size_t{64} * 1024;
constexpr std::chrono::milliseconds kMetadataConnectTimeout{1000};
constexpr int kOk = 200;
// The public login service, and the older name by which key vaults still call it. Requests go to the former.
constexpr std::array<std::string_view, 2> kPublicAuthorities{"login.microsoftonline.com", "login.windows.net"};

// What numbers of the login service mean (AADSTS…).
constexpr std::array<std::int64_t, 3> kNoSuchApplication{700016, 90002, 700027};
constexpr std::array<std::int64_t, 1> kDisabledApplication{7000112};
// "Client assertion is not within its valid time range": this machine's clock is wrong.
constexpr std::array<std::int64_t, 1> kWrongClock{700024};
// The codes (RFC 6749 sections 4.1.2.1 and 5.2, and Microsoft's own) that refuse the client itself. Others, such as
// temporarily_unavailable, server_error or invalid_request, come with the same statuses and say nothing of it.
constexpr std::array<std::string_view, 5> kRefusals{"invalid_client", "unauthorized_client", "invalid_grant",
                                                    "access_denied", "invalid_resource"};

void append_form(LockedText& form, std::string_view name, std::string_view value) {
  if (!form.empty()) form += '&';
  form.append(name).append("=").append(percent_encoded(value));
}

template <std::size_t N>
bool names_any(const AzureLoginError& error, const std::array<std::int64_t, N>& numbers) {
  return std::ranges::any_of(error.numbers,
                             [&](auto number) { return std::ranges::find(numbers, number) != numbers.end(); });
}

// A refusal by the login or the metadata service; only in their own form and with a code that says so, since a
// proxy's answer decides nothing.
Error login_refusal(const std::string& service, const HttpRequest& request, const HttpAnswer& answer) {
  const auto error = parse_azure_login_error(answer.body);
  const std::string status = "status " + std::to_string(answer.status);
  const bool in_its_form = error && (answer.status == kHttpBadRequest || answer.status == kHttpUnauthorized ||
                                     answer.status == kHttpForbidden);
  if (!in_its_form) return {ErrorCode::KeyVaultUnavailable, service + " gives no token now (" + status + ")"};
  // The numbers tell the reason also where the text may not be shown.
  std::string said = " (" + status + ", " + quotable(error->code, request);
  for (const std::int64_t number : error->numbers) said += " AADSTS" + std::to_string(number);
  said += ": " + quotable(error->message, request) + ")";
  std::string message = error->message;
  std::ranges::transform(message, message.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c; });
  if (names_any(*error, kDisabledApplication)) {
    return {ErrorCode::IdentityDisabled, service + " says that the identity is disabled" + said};
  }
  if (names_any(*error, kNoSuchApplication) || message.find("identity not found") != std::string::npos) {
    return {ErrorCode::IdentityNotFound,
            service + " knows no such identity" + said + "; assign it to this machine, or create it again"};
  }
  if (names_any(*error, kWrongClock)) {
    return {ErrorCode::KeyVaultUnavailable, service + " finds this machine's clock wrong" + said + "; set it"};
  }
  if (std::ranges::find(kRefusals, error->code) != kRefusals.end()) {
    return {ErrorCode::KeyVaultDenied, service + " refuses the identity" + said};
  }
  return {ErrorCode::KeyVaultUnavailable, service + " gives no token now" + said};
}

}  // namespace

Result<AzureLogin::Token> AzureLogin::token(HttpCall& call, const AzureChallenge& challenge, const Token& refused) {
  {
    const MutexLock lock(mutex_);
    if (kept_ == refused || env_.clock().monotonic_nanos() >= kept_until_nanos_) kept_.reset();
    if (kept_ && kept_audience_ == challenge.audience) return Token(kept_);
  }
  const std::int64_t asked_nanos = env_.clock().monotonic_nanos();
  VAULTFS_ASSIGN_OR_RETURN(AzureToken fresh, options_.auth == AzureAuth::managed_identity
                                                 ? ask_metadata(call, challenge)
                                                 : ask_authority(call, challenge));
  // Renewed a little early, so that no token expires on its way.
  const std::int64_t margin = std::min(kLongestMarginSeconds, fresh.lifetime_seconds / 10);
  const auto made = std::make_shared<const SecretBuffer>(std::move(fresh.text));
  const MutexLock lock(mutex_);
  kept_ = made;
  kept_audience_ = challenge.audience;
  kept_until_nanos_ = asked_nanos + (fresh.lifetime_seconds - margin) * kNanosPerSecond;
  return Token(made);
}

Result<AzureToken> AzureLogin::ask_metadata(HttpCall& call, const AzureChallenge& challenge) const {
  HttpRequest request;
  request.url = options_.metadata;
  request.url.path = "/metadata/identity/oauth2/token";
  request.url = request.url.with("api-version", "2018-02-01").with("resource", challenge.audience);
  if (!options_.selector.empty()) request.url = request.url.with(options_.selector, options_.selector_value);
  request.headers.emplace_back("Metadata", "true");
  request.use_proxy = false;
  request.connect_timeout = kMetadataConnectTimeout;
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, call.send(request, kMetadataRetries));
  if (answer.status != kOk) return login_refusal("the machine's metadata service", request, answer);
  return parse_azure_token(answer.body);
}

Status AzureLogin::check_authority(const AzureChallenge& challenge) const {
  const bool known = challenge.authority_host == options_.authority.host ||
                     std::ranges::find(kPublicAuthorities, challenge.authority_host) != kPublicAuthorities.end();
  if (known) return ok_status();
  return Error{ErrorCode::KeyVaultUnavailable, "the key vault sends its clients to " +
                                                   printable(challenge.authority_host) +
                                                   " for a login; if that is right, set authority-address to it"};
}

Status AzureLogin::append_credential(LockedText& form, const std::string& endpoint) const {
  if (options_.auth == AzureAuth::client_secret) {
    VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer secret, read_secret_option(env_, "secret-file", options_.secret_file));
    append_form(form, "client_secret", text_of(secret.view()));
    return ok_status();
  }
  const auto unusable = [](Error error) {
    if (error.code != ErrorCode::PermissionDenied && error.code != ErrorCode::MemoryLockFailed) {
      error.code = ErrorCode::KeyVaultUnavailable;
    }
    return with_context(std::move(error), "the option certificate-file");
  };
  const auto pem = read_private_file(env_, options_.certificate_file, kCertificateLimitBytes);
  if (!pem.ok()) return unusable(pem.error());
  std::array<std::byte, 16> id{};
  env_.fill_random(id);
  const auto assertion =
      make_client_assertion(pem->view(), options_.client_id, endpoint, to_hex(id), env_.clock().now().seconds());
  if (!assertion.ok()) return unusable(assertion.error());
  append_form(form, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
  append_form(form, "client_assertion", *assertion);
  return ok_status();
}

Result<AzureToken> AzureLogin::ask_authority(HttpCall& call, const AzureChallenge& challenge) const {
  VAULTFS_RETURN_IF_ERROR(check_authority(challenge));
  const std::string& tenant = options_.tenant.empty() ? challenge.tenant : options_.tenant;
  if (tenant.empty()) {
    return Error{ErrorCode::KeyVaultUnavailable, "the key vault names no tenant; set the option tenant"};
  }
  HttpRequest request;
  request.method = "POST";
  request.url = options_.authority.at(tenant).at("oauth2").at("v2.0").at("token");
  request.content_type = "application/x-www-form-urlencoded";
  append_form(request.body, "client_id", options_.client_id);
  append_form(request.body, "scope", challenge.audience + "/.default");
  append_form(request.body, "grant_type", "client_credentials");
  VAULTFS_RETURN_IF_ERROR(append_credential(request.body, request.url.to_string()));
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, call.send(request));
  if (answer.status != kOk) return login_refusal("the login service", request, answer);
  return parse_azure_token(answer.body);
}

}  // namespace vaultfs
