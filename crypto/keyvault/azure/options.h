#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/http/curl.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// How an access token is come by.
enum class AzureAuth : std::uint8_t {
  managed_identity,    // of the machine, from its metadata service
  client_secret,       // of an application, by a secret
  client_certificate,  // of an application, by a certificate's key (RFC 7523)
};

// The configuration of an Azure Key Vault:
//   address          https://NAME.vault.azure.net
//   auth             managed-identity (default), client-secret, client-certificate
//   tenant           of the application; by default what the key vault names
//   client-id        of the application, with secret-file or certificate-file (PEM, certificate and private key)
//   region           a label to compare with a vault's
//   authority-address   where applications log in, by default https://login.microsoftonline.com
//   imds-address        the metadata service, by default http://169.254.169.254
//   ca-file, timeout, allow-http    see options.h; ca-file counts for `address`, and for authority-address if
//   given
// A user-assigned identity has, as its own options, what of these concerns the login, or for a managed identity one of
// client-id, object-id, resource-id, which select it; without one, the machine's system-assigned identity is asked for.
struct AzureOptions {
  HttpUrl address;
  HttpUrl authority;
  HttpUrl metadata;
  AzureAuth auth = AzureAuth::managed_identity;
  std::string tenant;
  std::string client_id;
  std::string secret_file;
  std::string certificate_file;
  // Of a managed identity: the name and value of the query's selector; empty for the system-assigned one.
  std::string selector;
  std::string selector_value;
  std::string region;
  HttpTlsFiles tls;
  std::chrono::milliseconds timeout{};

  // The key vault's options and, in front of them, the identity's ("system" has none). InvalidArgument naming the
  // option.
  [[nodiscard]] static Result<AzureOptions> parse(const ProviderOptions& key_vault, const ProviderIdentity& identity);
};

// The options that a user-assigned identity may bring itself, in the order in which they are shown.
[[nodiscard]] std::span<const std::string_view> azure_identity_options() noexcept;

}  // namespace vaultfs
