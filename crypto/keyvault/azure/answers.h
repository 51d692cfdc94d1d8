#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/memory/locked_text.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The answers of Azure Key Vault (REST 7.4), of the login service and of the metadata service, as pure functions of
// foreign bytes. What is not as documented is KeyVaultUnavailable: it decides nothing.

// https://HOST/keys/NAME[/VERSION] or https://HOST/deletedkeys/NAME.
struct AzureKeyId {
  std::string name;
  std::string version;  // 32 hex digits in lower case; empty if there is none
};

// Nothing unless the id is of that form, and of this key vault.
[[nodiscard]] std::optional<AzureKeyId> parse_azure_key_id(std::string_view kid, const HttpUrl& key_vault);

struct AzureAttributes {
  bool enabled = true;
  std::optional<std::int64_t> not_before;
  std::optional<std::int64_t> expires;
  std::int64_t created = 0;
  std::string recovery_level;

  // As recoveryLevel says; nothing if the answer has none.
  [[nodiscard]] std::optional<bool> soft_delete() const;
  [[nodiscard]] std::optional<bool> purge_protection() const;
};

// What the type of a managed key ends in.
inline constexpr std::string_view kAzureOfCertificate = " (of a certificate)";

// A key version, of GET, create, rotate, PATCH.
struct AzureKey {
  AzureKeyId id;
  AzureAttributes attributes;
  std::string type;   // "RSA" also for RSA-HSM; "RSA (of a certificate)" if it is managed; else as it is: "EC", "oct"
  unsigned bits = 0;  // of an RSA modulus
};
[[nodiscard]] Result<AzureKey> parse_azure_key(std::string_view body, const HttpUrl& key_vault);

// One page of keys or of versions.
struct AzurePage {
  struct Item {
    AzureKeyId id;
    AzureAttributes attributes;
    bool managed = false;  // part of a certificate
  };
  std::vector<Item> items;
  std::optional<HttpUrl> next;  // on the same host
};
[[nodiscard]] Result<AzurePage> parse_azure_page(std::string_view body, const HttpUrl& key_vault);

// Of wrapkey and unwrapkey: the value, if it was done by that version.
[[nodiscard]] Result<SecretBuffer> parse_azure_value(std::string_view body, const HttpUrl& key_vault,
                                                     std::string_view name, std::string_view version);

// Of the key vault: {"error":{"code","message","innererror":{"code"}}}, in any case of letters. Nothing for any other
// form: {"error":"Not Found"} for example is what many a gateway says that has no backend.
struct AzureError {
  std::string code;
  std::string inner_code;
  std::string message;

  // The code is that one, in any case of letters.
  [[nodiscard]] bool is(std::string_view wanted) const;
};
[[nodiscard]] std::optional<AzureError> parse_azure_error(std::string_view body);

// Of the login service and of the metadata service (RFC 6749 section 5.2): {"error":"code","error_description",
// "error_codes"}. Nothing for any other form.
struct AzureLoginError {
  std::string code;
  std::string message;
  std::vector<std::int64_t> numbers;  // 7000215 for AADSTS7000215
};
[[nodiscard]] std::optional<AzureLoginError> parse_azure_login_error(std::string_view body);

// Of the login service and the metadata service, which gives its numbers as texts.
struct AzureToken {
  SecretBuffer text;
  std::int64_t lifetime_seconds = 0;
};
[[nodiscard]] Result<AzureToken> parse_azure_token(std::string_view body);

// WWW-Authenticate of a 401: Bearer authorization="https://login…/TENANT", resource="https://vault.azure.net" (also
// authorization_uri, scope).
struct AzureChallenge {
  std::string authority_host;
  std::string tenant;
  std::string audience;  // the resource without a slash at its end
  bool operator==(const AzureChallenge&) const = default;
};
// KeyVaultUnavailable unless the resource's domain is one that the key vault's host lies under: a token for another
// service is never asked for.
[[nodiscard]] Result<AzureChallenge> parse_azure_challenge(std::string_view header, const HttpUrl& key_vault);

}  // namespace vaultfs
