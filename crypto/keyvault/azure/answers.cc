#include "crypto/keyvault/azure/answers.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/ascii.h"
#include "crypto/keyvault/http/json_answer.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPageLimit = 1000;
constexpr std::int64_t kLongestLifetime = std::int64_t{7} * 86400;

Error no_azure_answer(const std::string& what) {
  return {ErrorCode::KeyVaultUnavailable, "the answer is not an Azure Key Vault's: " + what};
}

// A text for messages, one line of printable characters; empty if there is none.
std::string shown_member(const AnswerJson& object, std::string_view name) {
  const AnswerJson* const value = member_of_any_case(object, name);
  return value != nullptr && value->is_string() ? printable(value->get_ref<const LockedText&>()) : std::string();
}

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> segments;
  for (std::size_t begin = 1; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    segments.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return segments;
}

// A number, or the text of one, as the metadata service writes it.
std::optional<std::int64_t> number_of(const AnswerJson& object, const char* name) noexcept {
  if (const auto number = integer_member(object, name)) return number;
  const LockedText* const text = text_member(object, name);
  if (text == nullptr || text->empty()) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

// A date that may be absent or null, but nothing else.
Result<std::optional<std::int64_t>> optional_date(const AnswerJson& object, const char* name) {
  const AnswerJson* const value = member(object, name);
  if (value == nullptr || value->is_null()) return std::optional<std::int64_t>();
  const auto date = integer_value(*value);
  if (!date) return no_azure_answer(std::string(name) + " is no date");
  return date;
}

Result<AzureAttributes> parse_attributes(const AnswerJson& holder) {
  const AnswerJson* const object = member(holder, "attributes");
  if (object == nullptr || !object->is_object()) return no_azure_answer("a key has no attributes");
  AzureAttributes attributes;
  const auto enabled = bool_member(*object, "enabled");
  const auto created = integer_member(*object, "created");
  if (!enabled || !created) return no_azure_answer("a key's attributes lack enabled or created");
  attributes.enabled = *enabled;
  attributes.created = *created;
  VAULTFS_ASSIGN_OR_RETURN(attributes.not_before, optional_date(*object, "nbf"));
  VAULTFS_ASSIGN_OR_RETURN(attributes.expires, optional_date(*object, "exp"));
  if (const LockedText* const level = text_member(*object, "recoveryLevel")) {
    attributes.recovery_level = printable(*level);
  }
  return attributes;
}

Result<AzureKeyId> parse_kid(const AnswerJson& object, const HttpUrl& key_vault) {
  const LockedText* const kid = text_member(object, "kid");
  if (kid == nullptr) return no_azure_answer("a key has no kid");
  auto id = parse_azure_key_id(*kid, key_vault);
  if (!id) return no_azure_answer("a kid is not of this key vault");
  return *std::move(id);
}

// The length of a big-endian number in base64url.
unsigned modulus_bits(const AnswerJson& key) {
  const LockedText* const modulus = text_member(key, "n");
  if (modulus == nullptr) return 0;
  const auto bytes = from_locked_base64(*modulus, Base64::url_unpadded);
  if (!bytes.ok()) return 0;
  const ByteView view = bytes->view();
  const auto first = std::ranges::find_if(view, [](std::byte byte) { return byte != std::byte{0}; });
  if (first == view.end()) return 0;
  unsigned top = 0;
  for (auto value = std::to_integer<unsigned>(*first); value != 0; value >>= 1U) ++top;
  return static_cast<unsigned>(view.end() - first - 1) * 8 + top;
}

// NAME="VALUE" pairs, separated by commas or blanks (RFC 9110 section 11.2); values may also stand without quotes.
std::map<std::string, std::string> parse_parameters(std::string_view text) {
  std::map<std::string, std::string> parameters;
  while (true) {
    const std::size_t begin = text.find_first_not_of(" ,\t");
    if (begin == std::string_view::npos) return parameters;
    text.remove_prefix(begin);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return parameters;
    const std::string name = ascii_lower(text.substr(0, equals));
    text.remove_prefix(equals + 1);
    const bool quoted = text.starts_with('"');
    if (quoted) text.remove_prefix(1);
    const std::size_t end = std::min(quoted ? text.find('"') : text.find_first_of(" ,\t"), text.size());
    parameters.emplace(name, text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + (quoted ? 1 : 0)));
  }
}

}  // namespace

std::optional<bool> AzureAttributes::soft_delete() const {
  if (recovery_level.empty()) return std::nullopt;
  // "Purgeable" alone is a key vault without soft delete; "Recoverable+Purgeable", "CustomizedRecoverable", … have it.
  return recovery_level.find("Recoverable") != std::string::npos;
}

std::optional<bool> AzureAttributes::purge_protection() const {
  if (recovery_level.empty()) return std::nullopt;
  return recovery_level.find("Purgeable") == std::string::npos;
}

std::optional<AzureKeyId> parse_azure_key_id(std::string_view kid, const HttpUrl& key_vault) {
  const auto url = HttpUrl::parse(kid, "kid", PlainHttp::loopback);
  if (!url.ok() || !url->same_origin(key_vault)) return std::nullopt;
  const auto segments = segments_of(url->path);
  if (segments.size() < 2 || segments.size() > 3) return std::nullopt;
  if (segments[0] != "keys" && segments[0] != "deletedkeys") return std::nullopt;
  if (!is_key_name(segments[1])) return std::nullopt;
  AzureKeyId id{std::string(segments[1]), {}};
  if (segments.size() == 3) {
    if (!is_key_version_id(segments[2])) return std::nullopt;
    id.version = ascii_lower(segments[2]);
  }
  return id;
}

Result<AzureKey> parse_azure_key(std::string_view body, const HttpUrl& key_vault) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  const AnswerJson* const object = member(answer, "key");
  if (object == nullptr || !object->is_object()) return no_azure_answer("it has no key");
  AzureKey key;
  VAULTFS_ASSIGN_OR_RETURN(key.id, parse_kid(*object, key_vault));
  if (key.id.version.empty()) return no_azure_answer("a key has no version");
  VAULTFS_ASSIGN_OR_RETURN(key.attributes, parse_attributes(answer));
  const LockedText* const type = text_member(*object, "kty");
  if (type == nullptr || type->empty()) return no_azure_answer("a key has no type");
  key.type = printable(*type);
  if (key.type == "RSA" || key.type == "RSA-HSM") {
    key.type = "RSA";
    key.bits = modulus_bits(*object);
    if (key.bits == 0) return no_azure_answer("an RSA key has no modulus");
  }
  // A key that belongs to a certificate comes and goes with it.
  if (bool_member(answer, "managed").value_or(false)) key.type += kAzureOfCertificate;
  return key;
}

Result<AzurePage> parse_azure_page(std::string_view body, const HttpUrl& key_vault) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  const AnswerJson* const value = member(answer, "value");
  // A page may be empty and have a next one, and an empty list may be null.
  const bool empty = value != nullptr && value->is_null();
  if (value == nullptr || (!empty && !value->is_array())) return no_azure_answer("it is no list");
  AzurePage page;
  if (!empty) {
    if (value->size() > kPageLimit) return no_azure_answer("a page is too long");
    for (const AnswerJson& entry : *value) {
      AzurePage::Item item;
      VAULTFS_ASSIGN_OR_RETURN(item.id, parse_kid(entry, key_vault));
      VAULTFS_ASSIGN_OR_RETURN(item.attributes, parse_attributes(entry));
      item.managed = bool_member(entry, "managed").value_or(false);
      page.items.push_back(std::move(item));
    }
  }
  const LockedText* const next = text_member(answer, "nextLink");
  if (next == nullptr || next->empty()) return page;
  auto url = HttpUrl::parse(*next, "nextLink", PlainHttp::loopback, /*with_query=*/true);
  // The token goes with the next request, so that goes nowhere else.
  if (!url.ok() || !url->same_origin(key_vault)) return no_azure_answer("its next page is not on the same host");
  if (!url->path.starts_with("/keys")) return no_azure_answer("its next page is not a list of keys");
  page.next = *std::move(url);
  return page;
}

Result<SecretBuffer> parse_azure_value(std::string_view body, const HttpUrl& key_vault, std::string_view name,
                                       std::string_view version) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  VAULTFS_ASSIGN_OR_RETURN(const AzureKeyId id, parse_kid(answer, key_vault));
  if (ascii_lower(id.name) != ascii_lower(name) || id.version != ascii_lower(version)) {
    return no_azure_answer("another key version answered than was asked");
  }
  const LockedText* const value = text_member(answer, "value");
  if (value == nullptr) return no_azure_answer("it has no value");
  auto bytes = from_locked_base64(*value, Base64::url_unpadded);
  if (!bytes.ok() && bytes.code() == ErrorCode::InvalidArgument) return no_azure_answer("its value is not base64url");
  return bytes;
}

bool AzureError::is(std::string_view wanted) const { return ascii_lower(code) == ascii_lower(wanted); }

std::optional<AzureError> parse_azure_error(std::string_view body) {
  const auto answer = parse_answer(body);
  const AnswerJson* const error = answer.ok() ? member_of_any_case(*answer, "error") : nullptr;
  if (error == nullptr) return std::nullopt;
  AzureError parsed;
  parsed.code = shown_member(*error, "code");
  if (parsed.code.empty()) return std::nullopt;
  parsed.message = shown_member(*error, "message");
  // Errors may be nested deeper; the innermost says what it was.
  const AnswerJson* inner = member_of_any_case(*error, "innererror");
  while (inner != nullptr && inner->is_object()) {
    const std::string code = shown_member(*inner, "code");
    if (!code.empty()) parsed.inner_code = code;
    inner = member_of_any_case(*inner, "innererror");
  }
  return parsed;
}

std::optional<AzureLoginError> parse_azure_login_error(std::string_view body) {
  const auto answer = parse_answer(body);
  if (!answer.ok()) return std::nullopt;
  AzureLoginError parsed;
  parsed.code = shown_member(*answer, "error");
  if (parsed.code.empty()) return std::nullopt;
  parsed.message = shown_member(*answer, "error_description");
  const AnswerJson* const numbers = member_of_any_case(*answer, "error_codes");
  if (numbers != nullptr && numbers->is_array()) {
    for (const AnswerJson& number : *numbers) parsed.numbers.push_back(integer_value(number).value_or(0));
  }
  return parsed;
}

Result<AzureToken> parse_azure_token(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  const LockedText* const token = text_member(answer, "access_token");
  const LockedText* const type = text_member(answer, "token_type");
  const auto lifetime = number_of(answer, "expires_in");
  const auto is_header_text = [](char c) { return c > 0x20 && c < 0x7f; };
  if (token == nullptr || token->empty() || !std::ranges::all_of(*token, is_header_text) || !lifetime ||
      *lifetime < 1 || type == nullptr || ascii_lower(*type) != "bearer") {
    return Error{ErrorCode::KeyVaultUnavailable, "the login gave no access token that can be used"};
  }
  AzureToken parsed;
  VAULTFS_ASSIGN_OR_RETURN(parsed.text, SecretBuffer::copy_of(bytes_of(*token)));
  parsed.lifetime_seconds = std::min(*lifetime, kLongestLifetime);
  return parsed;
}

Result<AzureChallenge> parse_azure_challenge(std::string_view header, const HttpUrl& key_vault) {
  constexpr std::string_view kScheme = "bearer ";
  constexpr std::string_view kDefaultScope = "/.default";
  if (ascii_lower(header.substr(0, kScheme.size())) != kScheme) return no_azure_answer("it asks for no bearer token");
  const auto parameters = parse_parameters(header.substr(kScheme.size()));
  const auto value = [&](const char* name, const char* other) {
    const auto it = parameters.contains(name) ? parameters.find(name) : parameters.find(other);
    return it == parameters.end() ? std::string() : it->second;
  };
  const auto authority = HttpUrl::parse(value("authorization", "authorization_uri"), "authorization", PlainHttp::never);
  if (!authority.ok()) return no_azure_answer("its challenge names no authority");
  std::string resource = value("resource", "scope");
  if (resource.ends_with(kDefaultScope)) resource.resize(resource.size() - kDefaultScope.size());
  const auto audience = HttpUrl::parse(resource, "resource", PlainHttp::never);
  if (!audience.ok() || !audience->path.empty()) return no_azure_answer("its challenge names no resource");
  // With a dot in front: evilvault.azure.net does not lie under vault.azure.net.
  if (!key_vault.host.ends_with("." + audience->host)) {
    return no_azure_answer("it asks for a token for " + printable(audience->host) + ", which it does not lie under");
  }
  AzureChallenge challenge;
  challenge.authority_host = authority->host;
  const auto segments = segments_of(authority->path);
  if (!segments.empty()) challenge.tenant = segments.front();
  challenge.audience = audience->origin();
  return challenge;
}

}  // namespace vaultfs
