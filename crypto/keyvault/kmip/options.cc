#include "crypto/keyvault/kmip/options.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "crypto/keyvault/region.h"

namespace vaultfs {
namespace {

constexpr std::string_view kAddress = "address";
constexpr std::string_view kCaFile = "ca-file";
constexpr std::string_view kClientCert = "client-cert-file";
constexpr std::string_view kClientKey = "client-key-file";
constexpr std::string_view kServerName = "server-name";
constexpr std::string_view kTimeout = "timeout";
constexpr std::string_view kRegion = "region";
constexpr std::array kKmipOptions{kAddress, kCaFile, kClientCert, kClientKey, kServerName, kTimeout, kRegion};
constexpr std::array kClientOptions{kClientCert, kClientKey};
constexpr std::size_t kServerNameLimit = 253;  // RFC 1035 section 2.3.4, as text
constexpr std::int64_t kKmipTimeoutLimitSeconds = 300;

Error wrong_option(std::string_view option, std::string_view why) {
  return {ErrorCode::InvalidArgument,
          "the option " + std::string(option) + " of a KMIP key vault " + std::string(why) +
              "; its options: address=HOST[:PORT], ca-file=PATH, client-cert-file=PATH, client-key-file=PATH, "
              "server-name=NAME, timeout=SECONDS, region=LABEL"};
}

const std::string* find(const ProviderOptions& options, std::string_view name) {
  const auto it = options.find(std::string(name));
  return it == options.end() ? nullptr : &it->second;
}

// A whole decimal kmip_number without sign or leading zero.
std::optional<std::int64_t> kmip_number(std::string_view text) {
  if (text.empty() || text.front() < '1' || text.front() > '9') return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_ipv6_literal(const std::string& text) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool is_host(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' ||
           c == '_';
  };
  return !text.empty() && text.size() <= kServerNameLimit && text.front() != '-' && std::ranges::all_of(text, allowed);
}

Status parse_port(std::string_view text, KmipSettings& out) {
  const auto port = kmip_number(text);
  if (!port || *port > 65535) return wrong_option(kAddress, "has no port from 1 to 65535 after its colon");
  out.port = static_cast<std::uint16_t>(*port);
  return ok_status();
}

Status parse_address(std::string_view text, KmipSettings& out) {
  constexpr std::string_view kForm = "is no HOST, HOST:PORT or [IPV6]:PORT";
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return wrong_option(kAddress, kForm);
    out.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
    if (!is_ipv6_literal(out.host)) return wrong_option(kAddress, kForm);
  } else {
    const std::size_t end = std::min(text.find(':'), text.size());
    out.host = text.substr(0, end);
    rest = text.substr(end);
    if (!is_host(out.host)) return wrong_option(kAddress, kForm);
  }
  if (rest.empty()) return ok_status();
  if (!rest.starts_with(':')) return wrong_option(kAddress, kForm);
  return parse_port(rest.substr(1), out);
}

Result<std::filesystem::path> file_option(std::string_view option, const std::string& value) {
  std::filesystem::path path = value;
  // The mount's process works from another directory than the command that registered the key vault.
  if (!path.is_absolute()) return wrong_option(option, "is no absolute path");
  return path;
}

Status set_optional(const ProviderOptions& options, KmipSettings& out) {
  out.server_name = out.host;
  if (const std::string* name = find(options, kServerName)) {
    if (!is_host(*name) && !is_ipv6_literal(*name)) return wrong_option(kServerName, "is no host's name or address");
    out.server_name = *name;
  }
  if (const std::string* region = find(options, kRegion)) {
    if (region->empty() || !is_region_label(*region)) {
      return wrong_option(kRegion, "is no label of up to 64 printable ASCII characters");
    }
    out.region = *region;
  }
  if (const std::string* text = find(options, kTimeout)) {
    const auto seconds = kmip_number(*text);
    if (!seconds || *seconds > kKmipTimeoutLimitSeconds)
      return wrong_option(kTimeout, "is no kmip_number from 1 to 300");
    out.timeout = std::chrono::seconds(*seconds);
  }
  return ok_status();
}

// Everything but the client's files.
Result<KmipSettings> parse_kmip_server(const ProviderOptions& options) {
  for (const auto& [name, value] : options) {
    if (std::ranges::find(kKmipOptions, name) == kKmipOptions.end()) return wrong_option(name, "is unknown");
  }
  KmipSettings settings;
  const std::string* address = find(options, kAddress);
  if (address == nullptr) return wrong_option(kAddress, "is missing");
  VAULTFS_RETURN_IF_ERROR(parse_address(*address, settings));
  const std::string* ca = find(options, kCaFile);
  if (ca == nullptr) return wrong_option(kCaFile, "is missing");
  VAULTFS_ASSIGN_OR_RETURN(settings.ca_file, file_option(kCaFile, *ca));
  VAULTFS_RETURN_IF_ERROR(set_optional(options, settings));
  return settings;
}

Status set_client(const ProviderOptions& options, KmipSettings& out) {
  const std::string* cert = find(options, kClientCert);
  const std::string* key = find(options, kClientKey);
  if (cert == nullptr && key == nullptr) return ok_status();
  if (cert == nullptr) return wrong_option(kClientCert, "is missing beside client-key-file");
  if (key == nullptr) return wrong_option(kClientKey, "is missing beside client-cert-file");
  VAULTFS_ASSIGN_OR_RETURN(out.client_cert_file, file_option(kClientCert, *cert));
  VAULTFS_ASSIGN_OR_RETURN(out.client_key_file, file_option(kClientKey, *key));
  return ok_status();
}

}  // namespace

std::string KmipSettings::location() const {
  const bool bracket = host.find(':') != std::string::npos;
  return "kmip://" + (bracket ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Status check_kmip_options(const ProviderOptions& options) {
  VAULTFS_ASSIGN_OR_RETURN(KmipSettings settings, parse_kmip_server(options));
  return set_client(options, settings);
}

std::span<const std::string_view> kmip_identity_options() noexcept { return kClientOptions; }

Result<KmipSettings> kmip_settings(const ProviderOptions& options, const ProviderIdentity& identity) {
  VAULTFS_ASSIGN_OR_RETURN(KmipSettings settings, parse_kmip_server(options));
  VAULTFS_RETURN_IF_ERROR(set_client(options, settings));
  VAULTFS_RETURN_IF_ERROR(set_client(identity.options, settings));
  if (settings.client_cert_file.empty()) {
    return wrong_option(kClientCert, "is missing, also from the identity " + identity.name);
  }
  return settings;
}

}  // namespace vaultfs
