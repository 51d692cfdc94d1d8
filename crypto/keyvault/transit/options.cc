#include "crypto/keyvault/transit/options.h"

#include <algorithm>
#include <array>

#include "crypto/keyvault/http/options.h"

namespace vaultfs {
namespace {

constexpr std::array<std::string_view, 12> kTransitOptions{
    "address",          "mount",           "namespace", "token-file", "role-id", "secret-id-file", "ca-file",
    "client-cert-file", "client-key-file", "timeout",   "allow-http", "region"};
constexpr std::array<std::string_view, 3> kCredentials{"token-file", "role-id", "secret-id-file"};
constexpr std::size_t kPathLimit = 256;
constexpr std::size_t kRoleLimit = 4096;

// SEGMENT[/SEGMENT…] of letters, digits, '-', '_', '.': what needs no encoding in a URL.
bool is_plain_path(std::string_view path) noexcept {
  if (path.empty() || path.size() > kPathLimit || path.front() == '/' || path.back() == '/') return false;
  if (path.find("//") != std::string_view::npos || path.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(path, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '/';
  });
}

Status check_credentials(const TransitOptions& options) {
  const bool role = !options.role_id.empty() || !options.secret_id_file.empty();
  if (options.token_file && !role) return ok_status();
  if (!options.token_file && !options.role_id.empty() && !options.secret_id_file.empty()) return ok_status();
  return Error{ErrorCode::InvalidArgument,
               "the options token-file, role-id, secret-id-file: give either token-file, or role-id and "
               "secret-id-file"};
}

Status check_path(std::string_view option, std::string_view path) {
  if (is_plain_path(path)) return ok_status();
  return Error{ErrorCode::InvalidArgument,
               "the option " + std::string(option) + ": a path of letters, digits, '-', '_', '.' and '/' in between"};
}

}  // namespace

Result<TransitOptions> TransitOptions::parse(const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_known_options(options, kTransitOptions, "transit"));
  TransitOptions parsed;
  VAULTFS_ASSIGN_OR_RETURN(const PlainHttp plain, plain_http_option(options));
  VAULTFS_ASSIGN_OR_RETURN(const std::string address, required_option(options, "address"));
  VAULTFS_ASSIGN_OR_RETURN(parsed.address, HttpUrl::parse(address, "the option address", plain));
  if (!parsed.address.path.empty()) {
    return Error{ErrorCode::InvalidArgument, "the option address: give the server alone, without a path (no /v1)"};
  }
  parsed.mount = option_value(options, "mount").value_or("transit");
  VAULTFS_RETURN_IF_ERROR(check_path("mount", parsed.mount));
  parsed.name_space = option_value(options, "namespace").value_or("");
  if (!parsed.name_space.empty()) VAULTFS_RETURN_IF_ERROR(check_path("namespace", parsed.name_space));
  parsed.token_file = option_value(options, "token-file");
  parsed.role_id = option_value(options, "role-id").value_or("");
  parsed.secret_id_file = option_value(options, "secret-id-file").value_or("");
  if (parsed.role_id.size() > kRoleLimit ||
      !std::ranges::all_of(parsed.role_id, [](char c) { return c > 0x20 && c < 0x7f; })) {
    return Error{ErrorCode::InvalidArgument, "the option role-id: printable characters without blanks"};
  }
  VAULTFS_RETURN_IF_ERROR(check_credentials(parsed));
  VAULTFS_ASSIGN_OR_RETURN(parsed.tls, tls_options(options));
  VAULTFS_ASSIGN_OR_RETURN(parsed.timeout, timeout_option(options));
  VAULTFS_ASSIGN_OR_RETURN(parsed.region, region_option(options));
  return parsed;
}

std::span<const std::string_view> transit_identity_options() noexcept { return kCredentials; }

ProviderOptions transit_options_of(const ProviderContext& context) {
  ProviderOptions merged = context.options;
  const auto is_given = [&](std::string_view name) { return context.identity.options.contains(std::string(name)); };
  if (std::ranges::none_of(kCredentials, is_given)) return merged;
  for (const std::string_view name : kCredentials) {
    merged.erase(std::string(name));
    if (is_given(name)) merged[std::string(name)] = context.identity.options.at(std::string(name));
  }
  return merged;
}

}  // namespace vaultfs
