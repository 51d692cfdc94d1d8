#include "crypto/keyvault/azure/options.h"

#include <algorithm>
#include <array>

#include "crypto/keyvault/http/options.h"

namespace vaultfs {
namespace {

constexpr std::array<std::string_view, 12> kAzureOptions{
    "address",           "auth",         "tenant",  "client-id", "secret-file", "certificate-file", "region",
    "authority-address", "imds-address", "ca-file", "timeout",   "allow-http"};
// What of an identity's options concerns this provider. "tenant" may come from either.
constexpr std::array<std::string_view, 7> kLogin{"auth",        "tenant",      "client-id",       "object-id",
                                                 "resource-id", "secret-file", "certificate-file"};
struct Selector {
  std::string_view option;
  std::string_view query;
};
constexpr std::array<Selector, 3> kSelectors{
    {{"client-id", "client_id"}, {"object-id", "object_id"}, {"resource-id", "msi_res_id"}}};
constexpr std::string_view kPublicAuthority = "https://login.microsoftonline.com";
constexpr std::string_view kMetadataUrl = "http://169.254.169.254";
constexpr std::size_t kAzureValueLimit = 512;

Error invalid_azure_option(std::string_view option, const std::string& why) {
  return {ErrorCode::InvalidArgument, "the option " + std::string(option) + ": " + why};
}

// Ids and paths of resources: what neither ends a URL's part nor a line.
bool is_id(std::string_view text) noexcept {
  return text.size() <= kAzureValueLimit && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_' || c == '/' || c == '(' || c == ')';
         });
}

// A tenant stands in the path of a URL.
bool is_tenant(std::string_view text) noexcept {
  return is_id(text) && text.find_first_of("/()") == std::string_view::npos &&
         text.find("..") == std::string_view::npos;
}

bool is_given(const ProviderOptions& options, std::string_view name) { return options.contains(std::string(name)); }

// The options that decide the login: the identity's if it has any, else the key vault's.
ProviderOptions login_options(const ProviderOptions& key_vault, const ProviderIdentity& identity) {
  const bool own = std::ranges::any_of(kLogin, [&](auto name) { return is_given(identity.options, name); });
  const ProviderOptions& from = own ? identity.options : key_vault;
  ProviderOptions login;
  for (const std::string_view name : kLogin) {
    if (const auto value = option_value(from, name)) login[std::string(name)] = *value;
  }
  if (const auto tenant = option_value(key_vault, "tenant"); tenant && !is_given(login, "tenant")) {
    login["tenant"] = *tenant;
  }
  return login;
}

Result<AzureAuth> parse_auth(const ProviderOptions& login) {
  const auto text = option_value(login, "auth");
  if (!text) {
    if (is_given(login, "secret-file")) return AzureAuth::client_secret;
    if (is_given(login, "certificate-file")) return AzureAuth::client_certificate;
    return AzureAuth::managed_identity;
  }
  if (*text == "managed-identity") return AzureAuth::managed_identity;
  if (*text == "client-secret") return AzureAuth::client_secret;
  if (*text == "client-certificate") return AzureAuth::client_certificate;
  return invalid_azure_option("auth", "it is managed-identity, client-secret or client-certificate");
}

Status parse_selector(const ProviderOptions& login, AzureOptions& parsed) {
  for (const auto& [option, query] : kSelectors) {
    const auto value = option_value(login, option);
    if (!value) continue;
    if (!parsed.selector.empty())
      return invalid_azure_option(option, "one of client-id, object-id, resource-id selects an identity");
    parsed.selector = query;
    parsed.selector_value = *value;
  }
  for (const std::string_view name : {"secret-file", "certificate-file"}) {
    if (is_given(login, name))
      return invalid_azure_option(name, "a managed identity has none; set auth, or leave it out");
  }
  return ok_status();
}

Status parse_application(const ProviderOptions& login, AzureOptions& parsed) {
  const bool secret = parsed.auth == AzureAuth::client_secret;
  const std::string_view file = secret ? "secret-file" : "certificate-file";
  const std::string_view other = secret ? "certificate-file" : "secret-file";
  for (const std::string_view name : {std::string_view("object-id"), std::string_view("resource-id"), other}) {
    if (is_given(login, name)) return invalid_azure_option(name, "it does not go with this kind of login (auth)");
  }
  VAULTFS_ASSIGN_OR_RETURN(parsed.client_id, required_option(login, "client-id"));
  VAULTFS_ASSIGN_OR_RETURN((secret ? parsed.secret_file : parsed.certificate_file), required_option(login, file));
  return ok_status();
}

Status parse_login(const ProviderOptions& login, AzureOptions& parsed) {
  for (const auto& [name, value] : login) {
    VAULTFS_RETURN_IF_ERROR(check_absolute_file(name, value));
    if (name == "secret-file" || name == "certificate-file") continue;
    if (value.empty() || !(name == "tenant" ? is_tenant(value) : is_id(value))) {
      return invalid_azure_option(name, "it is not of the form of such an id");
    }
  }
  parsed.tenant = option_value(login, "tenant").value_or("");
  VAULTFS_ASSIGN_OR_RETURN(parsed.auth, parse_auth(login));
  if (parsed.auth == AzureAuth::managed_identity) return parse_selector(login, parsed);
  return parse_application(login, parsed);
}

Result<HttpUrl> parse_server(const ProviderOptions& options, std::string_view name, std::string_view otherwise,
                             PlainHttp plain) {
  const std::string text = option_value(options, name).value_or(std::string(otherwise));
  VAULTFS_ASSIGN_OR_RETURN(const HttpUrl url, HttpUrl::parse(text, "the option " + std::string(name), plain));
  if (!url.path.empty()) return invalid_azure_option(name, "give the server alone, without a path");
  return url;
}

}  // namespace

std::span<const std::string_view> azure_identity_options() noexcept { return kLogin; }

Result<AzureOptions> AzureOptions::parse(const ProviderOptions& key_vault, const ProviderIdentity& identity) {
  VAULTFS_RETURN_IF_ERROR(check_known_options(key_vault, kAzureOptions, "azure"));
  AzureOptions parsed;
  VAULTFS_ASSIGN_OR_RETURN(const PlainHttp plain, plain_http_option(key_vault));
  VAULTFS_ASSIGN_OR_RETURN(const std::string address, required_option(key_vault, "address"));
  VAULTFS_ASSIGN_OR_RETURN(parsed.address, parse_server(key_vault, "address", address, plain));
  VAULTFS_ASSIGN_OR_RETURN(parsed.authority, parse_server(key_vault, "authority-address", kPublicAuthority, plain));
  // The real metadata service has no https; a double on loopback needs the same leave as everything else there.
  const bool default_metadata = !is_given(key_vault, "imds-address");
  VAULTFS_ASSIGN_OR_RETURN(parsed.metadata, parse_server(key_vault, "imds-address", kMetadataUrl,
                                                         default_metadata ? PlainHttp::link_local : plain));
  const ProviderOptions login = login_options(key_vault, identity);
  VAULTFS_RETURN_IF_ERROR(parse_login(login, parsed));
  if (!parsed.selector.empty() && !is_given(identity.options, "client-id") &&
      !is_given(identity.options, "object-id") && !is_given(identity.options, "resource-id")) {
    return invalid_azure_option("client-id",
                                "a user-assigned identity is made with: vaultctl identity create NAME --option ...");
  }
  VAULTFS_ASSIGN_OR_RETURN(parsed.region, region_option(key_vault));
  VAULTFS_ASSIGN_OR_RETURN(parsed.tls, tls_options(key_vault));
  // A private authority vouches for what is the owner's own, not for the public login service.
  parsed.tls.authorities_for = {parsed.address.origin()};
  if (is_given(key_vault, "authority-address")) parsed.tls.authorities_for.push_back(parsed.authority.origin());
  VAULTFS_ASSIGN_OR_RETURN(parsed.timeout, timeout_option(key_vault));
  return parsed;
}

}  // namespace vaultfs
