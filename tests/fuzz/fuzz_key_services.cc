#include <cstdlib>
#include <string>

#include "base/rfc3339.h"
#include "crypto/keyvault/azure/answers.h"
#include "crypto/keyvault/azure/rotation_policy.h"
#include "crypto/keyvault/http/retry.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/keyvault/transit/answers.h"
#include "crypto/memory/base64.h"
#include "tests/fuzz/fuzz_keys.h"

namespace {

using namespace vaultfs;

void require(bool condition) {
  if (!condition) std::abort();
}

// One line that no terminal obeys.
void check_line(std::string_view text) {
  for (const char c : text) require(c >= 0x20 && c <= 0x7e);
}

// What a key service sends is an outage when it can't be understood, told in one line that no terminal obeys.
template <typename T>
void check_error(const Result<T>& result) {
  if (result.ok()) return;
  require(result.code() == ErrorCode::KeyVaultUnavailable);
  check_line(result.error().message);
}

void check_url(std::string_view text) {
  for (const PlainHttp plain : {PlainHttp::never, PlainHttp::loopback, PlainHttp::link_local}) {
    const auto url = HttpUrl::parse(text, "url", plain, /*with_query=*/true);
    if (!url.ok()) {
      require(url.code() == ErrorCode::InvalidArgument);
      check_line(url.error().message);
      continue;
    }
    // Plain http goes to the machine itself, or to its metadata service.
    require(url->secure || (plain != PlainHttp::never && (url->is_loopback() || url->host == "169.254.169.254")));
    const auto again = HttpUrl::parse(url->to_string(), "url", plain, /*with_query=*/true);
    require(again.ok() && again->same_origin(*url) && again->to_string() == url->to_string());
  }
}

void check_base64(std::string_view text) {
  for (const Base64 form : {Base64::standard_padded, Base64::url_unpadded}) {
    const auto bytes = from_locked_base64(text, form);
    require(bytes.ok() == is_base64(text, form));
    // One value has one text.
    if (bytes.ok()) require(std::string_view(locked_base64(bytes->view(), form)) == text);
  }
}

void check_transit(std::string_view text) {
  const auto key = parse_transit_key(text);
  check_error(key);
  if (key.ok()) {
    const auto versions = key->versions();
    require(!versions.empty() && versions.back().enabled);
    for (std::size_t i = 1; i < versions.size(); ++i) {
      require(versions[i - 1].created_unix_seconds <= versions[i].created_unix_seconds);
      require(versions[i].enabled || !versions[i - 1].enabled);
    }
  }
  check_error(parse_transit_key_names(text));
  const auto ciphertext = parse_transit_ciphertext(text, 3);
  check_error(ciphertext);
  if (ciphertext.ok()) require(transit_ciphertext_version(*ciphertext) == 3);
  check_error(parse_transit_plaintext(text));
  check_error(parse_transit_login(text));
  for (const std::string& error : parse_transit_errors(text).value_or(std::vector<std::string>())) check_line(error);
  if (const auto version = transit_ciphertext_version(text)) {
    require(text.starts_with("vault:v" + std::to_string(*version) + ":"));
  }
}

void check_azure(std::string_view text) {
  static const HttpUrl office = [] {
    auto url = HttpUrl::parse("https://office.vault.azure.net", "url", PlainHttp::never);
    require(url.ok());
    return *url;
  }();
  check_error(parse_azure_key(text, office));
  const auto page = parse_azure_page(text, office);
  check_error(page);
  if (page.ok() && page->next) require(page->next->same_origin(office));
  check_error(parse_azure_value(text, office, "kek", "00112233445566778899aabbccddeeff"));
  const auto policy = parse_azure_rotation_policy(text);
  check_error(policy);
  if (policy.ok()) {
    // What is put back is what was got.
    const auto again = parse_azure_rotation_policy(policy->to_json());
    require(again.ok() && *again == *policy);
  }
  check_error(parse_azure_token(text));
  if (const auto error = parse_azure_error(text)) {
    check_line(error->code);
    check_line(error->inner_code);
    check_line(error->message);
  }
  if (const auto error = parse_azure_login_error(text)) {
    check_line(error->code);
    check_line(error->message);
  }
  const auto challenge = parse_azure_challenge(text, office);
  check_error(challenge);
  if (challenge.ok()) {
    require(challenge->audience == "https://vault.azure.net" || challenge->audience == "https://azure.net" ||
            challenge->audience.starts_with("https://vault.azure.net:") ||
            challenge->audience.starts_with("https://azure.net:") || challenge->audience.starts_with("https://net"));
  }
}

}  // namespace

// What the REST key services answer: bodies, headers, and the URLs in them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(fuzz_input(data, size));
  check_url(text);
  check_base64(text);
  check_transit(text);
  check_azure(text);
  if (const auto date = parse_http_date(text)) require(*date >= 0);
  // Up to a day before 1970, by an offset.
  if (const auto time = parse_rfc3339(text)) require(*time > -86400);
  return 0;
}
