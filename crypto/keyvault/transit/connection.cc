#include "crypto/keyvault/transit/connection.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/http/json_answer.h"
#include "crypto/keyvault/http/options.h"
#include "crypto/keyvault/http/status.h"
#include "crypto/keyvault/transit/answers.h"

namespace vaultfs {
namespace {

// What the engine says, and what it means. The texts have stood in Vault since 0.x and in OpenBao; the first that is
// part of an answer decides.
struct Meaning {
  std::string_view text;
  ErrorCode code;
};
constexpr std::string_view kRsaFailure = "failed to RSA decrypt";
constexpr std::array<Meaning, 12> kMeanings{{
    {"disallowed by policy (too old)", ErrorCode::KeyVersionDisabled},
    {"encryption key not found", ErrorCode::KeyNotFound},
    {"no existing key named", ErrorCode::KeyNotFound},
    {"version is too new", ErrorCode::KeyVersionNotFound},
    {"higher than the latest key version", ErrorCode::KeyVersionNotFound},
    {"no such key version", ErrorCode::KeyVersionNotFound},
    {"less than the minimum encryption key version", ErrorCode::KeyVersionExpired},
    {"message authentication failed", ErrorCode::AuthenticationFailed},
    {kRsaFailure, ErrorCode::AuthenticationFailed},
    {"decryption error", ErrorCode::AuthenticationFailed},
    {"invalid ciphertext", ErrorCode::AuthenticationFailed},
    {"could not decode base64", ErrorCode::AuthenticationFailed},
}};

std::optional<ErrorCode> meaning_of(const HttpAnswer& answer) {
  if (answer.status != kHttpBadRequest && answer.status != kHttpServerErrors) return std::nullopt;
  for (const std::string& text : parse_transit_errors(answer.body).value_or(std::vector<std::string>())) {
    for (const Meaning& meaning : kMeanings) {
      // RSA decryption that fails is an internal error (500) to the engine. Nothing else is: the same texts in a 500
      // are the server's own trouble, with its storage for example.
      if (answer.status == kHttpServerErrors && meaning.text != kRsaFailure) continue;
      if (text.find(meaning.text) != std::string::npos) return meaning.code;
    }
  }
  return std::nullopt;
}

// What a refused AppRole login says, in lower case, from 0.x on. A login gets a 400 for other reasons too, which say
// nothing of the role: a cluster that became a secondary of disaster recovery, a mount or a namespace that is missing.
constexpr std::array<std::string_view, 7> kLoginRefusals{
    "invalid role",    "invalid secret",       "missing role_id",     "missing secret_id",
    "validate secret", "unauthorized through", "unauthorized by cidr"};

bool refuses_login(const HttpAnswer& answer) {
  if (answer.status != kHttpBadRequest) return false;
  for (std::string text : parse_transit_errors(answer.body).value_or(std::vector<std::string>())) {
    std::ranges::transform(text, text.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 32) : c; });
    const auto says = [&](std::string_view part) { return text.find(part) != std::string::npos; };
    if (std::ranges::any_of(kLoginRefusals, says)) return true;
  }
  return false;
}

// ": TEXT; TEXT" of the answer's errors; empty if it has none.
std::string said_by(const HttpAnswer& answer, const HttpRequest& request) {
  std::string said;
  for (const std::string& text : parse_transit_errors(answer.body).value_or(std::vector<std::string>())) {
    said += (said.empty() ? ": " : "; ") + quotable(text, request);
  }
  return said;
}

// For all tokens together: whoever ends a connection does not wait for a server that is gone.
constexpr std::chrono::milliseconds kRevocationTime{2000};

bool is_success(int status) noexcept { return status == 200 || status == 204; }

LockedText locked(ByteView secret) {
  const std::string_view text = text_of(secret);
  return {text.begin(), text.end()};
}

}  // namespace

TransitConnection::TransitConnection(Env& env, std::string key_vault, TransitOptions options, HttpMeans means)
    : env_(env), key_vault_(std::move(key_vault)), options_(std::move(options)), means_(std::move(means)) {}

TransitConnection::~TransitConnection() {
  try {
    revoke_logins();
  } catch (...) {  // of memory: the lease ends without us
  }
}

// A token that nobody holds any more would be good for the rest of its lease, and count against the server's quota.
void TransitConnection::revoke_logins() {
  std::vector<std::shared_ptr<const Token>> tokens;
  {
    const MutexLock lock(mutex_);
    login_.reset();
    tokens.swap(valid_);
  }
  std::erase_if(tokens, [this](const auto& token) { return !is_usable(*token); });
  if (tokens.empty()) return;
  HttpCall call(env_, means_, kRevocationTime);
  for (const auto& token : tokens) {
    HttpRequest request;
    request.method = "POST";
    request.url = options_.address;
    request.url.path = "/v1/auth/token/revoke-self";
    add_namespace(request);
    request.headers.emplace_back("X-Vault-Token", locked(token->text.view()));
    const auto ignored = call.send(request, kNoRetries);
    if (!ignored.ok()) return;  // nor will the next one get there
  }
}

HttpRequest TransitConnection::request(std::string method, std::string_view kind, std::string_view name,
                                       std::string_view verb) const {
  HttpRequest request;
  request.method = std::move(method);
  request.url = options_.address;
  request.url.path = "/v1/" + options_.mount + "/" + std::string(kind);
  if (!name.empty()) request.url = request.url.at(name);
  if (!verb.empty()) request.url = request.url.at(verb);
  return request;
}

void TransitConnection::add_namespace(HttpRequest& request) const {
  if (options_.name_space.empty()) return;
  request.headers.emplace_back("X-Vault-Namespace", locked(bytes_of(options_.name_space)));
}

Result<std::shared_ptr<const TransitConnection::Token>> TransitConnection::log_in(HttpCall& call) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer secret_id,
                           read_secret_option(env_, "secret-id-file", options_.secret_id_file));
  HttpRequest request;
  request.method = "POST";
  request.url = options_.address;
  request.url.path = "/v1/auth/approle/login";
  add_namespace(request);
  request.content_type = "application/json";
  request.body = "{\"role_id\":";
  append_json_string(request.body, options_.role_id);
  request.body += ",\"secret_id\":";
  append_json_string(request.body, text_of(secret_id.view()));
  request.body += "}";
  const std::int64_t asked_nanos = env_.clock().monotonic_nanos();
  // A secret id may be good for a few logins only, and one whose answer was lost has used it.
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, call.send(request, kUnrepeatable));
  if (refuses_login(answer)) {
    return Error{ErrorCode::KeyVaultDenied,
                 "the AppRole login was refused" + said_by(answer, request) + "; check role-id and secret-id-file"};
  }
  if (!is_success(answer.status)) return refusal(call, request, answer);
  VAULTFS_ASSIGN_OR_RETURN(TransitLogin login, parse_transit_login(answer.body));
  auto token = std::make_shared<Token>();
  token->text = std::move(login.token);
  if (login.lease_seconds > 0) {
    // A tenth earlier, so that it does not expire on its way.
    const std::int64_t seconds = std::min<std::int64_t>(login.lease_seconds, std::int64_t{365} * 86400);
    token->expires_nanos = asked_nanos + seconds * kNanosPerSecond / 10 * 9;
  }
  keep(token);
  return std::shared_ptr<const Token>(token);
}

Result<TransitConnection::Held> TransitConnection::token(HttpCall& call) {
  if (options_.token_file) {
    auto token = std::make_shared<Token>();
    VAULTFS_ASSIGN_OR_RETURN(token->text, read_secret_option(env_, "token-file", *options_.token_file));
    return Held{token, true};
  }
  std::shared_ptr<const Token> kept;
  {
    const MutexLock lock(mutex_);
    kept = login_;
  }
  if (kept && is_usable(*kept)) return Held{kept, false};
  VAULTFS_ASSIGN_OR_RETURN(kept, log_in(call));
  return Held{kept, true};
}

bool TransitConnection::is_usable(const Token& token) const {
  return !token.expires_nanos || env_.clock().monotonic_nanos() < *token.expires_nanos;
}

void TransitConnection::keep(const std::shared_ptr<const Token>& token) {
  const MutexLock lock(mutex_);
  std::erase_if(valid_, [this](const auto& older) { return !is_usable(*older); });
  valid_.push_back(token);
  login_ = token;
}

void TransitConnection::drop(const std::shared_ptr<const Token>& token) {
  const MutexLock lock(mutex_);
  std::erase(valid_, token);
  if (login_ == token) login_.reset();
}

Result<HttpAnswer> TransitConnection::send(HttpCall& call, HttpRequest request, const HttpRetryPlan& plan) {
  const std::string context = "the key vault " + key_vault_;
  add_namespace(request);
  if (!request.body.empty()) request.content_type = "application/json";
  request.headers.emplace_back("X-Vault-Token", LockedText());
  for (;;) {
    auto held = token(call);
    if (!held.ok()) return with_context(held.error(), context);
    request.headers.back().second = locked(held->token->text.view());
    auto answer = call.send(request, plan, [](const HttpAnswer& got) { return meaning_of(got).has_value(); });
    if (!answer.ok()) return with_context(answer.error(), context);
    if (is_success(answer->status)) return answer;
    if (answer->status != kHttpForbidden || held->fresh) return with_context(refusal(call, request, *answer), context);
    // The login may have been revoked or may have expired before its time: once more with a new one.
    drop(held->token);
  }
}

Error TransitConnection::refusal(HttpCall& call, const HttpRequest& request, const HttpAnswer& answer) const {
  const auto texts = parse_transit_errors(answer.body);
  const std::string said = said_by(answer, request);
  if (const auto code = meaning_of(answer)) return {*code, "it answers" + said};
  const std::string status = "status " + std::to_string(answer.status) + said;
  // A refusal counts in the engine's own form only: a proxy in between decides nothing about keys.
  if (answer.status == kHttpForbidden && texts) {
    return {ErrorCode::KeyVaultDenied, "it denies the request (" + status + "); check the policies of the token"};
  }
  if (answer.status == kHttpNotFound && texts && texts->empty()) {
    return {ErrorCode::KeyNotFound, "it has no such key (" + status + ")"};
  }
  if (answer.status == kHttpTooManyRequests || answer.status >= kHttpServerErrors) {
    return {ErrorCode::KeyVaultUnavailable, "it is not ready (" + status + ")" + state_of_server(call)};
  }
  return {ErrorCode::KeyVaultUnavailable,
          "it gave an answer that decides nothing (" + status + "); check address, namespace and mount"};
}

std::string TransitConnection::state_of_server(HttpCall& call) const {
  HttpRequest request;
  request.url = options_.address;
  request.url.path = "/v1/sys/health";
  const auto answer = call.send(request, kNoRetries);
  if (!answer.ok()) return "";
  switch (answer->status) {
    case 429:
      return "; the server is an unsealed standby: address the active one";
    case 501:
      return "; the server is not initialised";
    case 503:
      return "; the server is sealed: unseal it";
    default:
      return "";
  }
}

}  // namespace vaultfs
