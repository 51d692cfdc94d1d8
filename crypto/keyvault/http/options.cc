#include "crypto/keyvault/http/options.h"

#include <algorithm>
#include <charconv>

#include "crypto/files/private_file.h"
#include "crypto/keyvault/region.h"

namespace vaultfs {
namespace {

constexpr std::size_t kSecretLimitBytes = std::size_t{16} * 1024;
constexpr int kDefaultTimeoutSeconds = 30;
constexpr int kLongestTimeoutSeconds = 600;

Error invalid_http_option(std::string_view option, const std::string& why) {
  return {ErrorCode::InvalidArgument, "the option " + std::string(option) + ": " + why};
}

}  // namespace

Status check_known_options(const ProviderOptions& options, std::span<const std::string_view> known,
                           std::string_view provider) {
  std::string names;
  for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
  for (const auto& [name, value] : options) {
    if (std::ranges::find(known, name) == known.end()) {
      return Error{ErrorCode::InvalidArgument, "the provider " + std::string(provider) + " has no option \"" +
                                                   printable(name) + "\"; the known ones: " + names};
    }
    if (value.empty()) return invalid_http_option(name, "it has no value; the known options: " + names);
    VAULTFS_RETURN_IF_ERROR(check_absolute_file(name, value));
  }
  return ok_status();
}

Status check_absolute_file(std::string_view name, std::string_view value) {
  if (!name.ends_with("-file") || (value.starts_with('/') && value.find('\0') == std::string_view::npos)) {
    return ok_status();
  }
  return invalid_http_option(name, printable(value) + " is no absolute path");
}

Result<std::string> region_option(const ProviderOptions& options) {
  std::string region = option_value(options, "region").value_or("");
  if (is_region_label(region)) return region;
  return invalid_http_option("region", "a label of up to 64 printable ASCII characters");
}

std::optional<std::string> option_value(const ProviderOptions& options, std::string_view name) {
  const auto it = options.find(std::string(name));
  return it == options.end() ? std::nullopt : std::optional(it->second);
}

Result<std::string> required_option(const ProviderOptions& options, std::string_view name) {
  auto value = option_value(options, name);
  if (value && !value->empty()) return *std::move(value);
  return invalid_http_option(name, "it is missing; give it as --option " + std::string(name) + "=VALUE");
}

Result<std::chrono::milliseconds> timeout_option(const ProviderOptions& options) {
  const auto text = option_value(options, "timeout");
  if (!text) return std::chrono::milliseconds(std::chrono::seconds(kDefaultTimeoutSeconds));
  int seconds = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  if (error != std::errc() || end != text->data() + text->size() || seconds < 1 || seconds > kLongestTimeoutSeconds) {
    return invalid_http_option("timeout", "it is the number of seconds that one call may take, 1 to " +
                                              std::to_string(kLongestTimeoutSeconds));
  }
  return std::chrono::milliseconds(std::chrono::seconds(seconds));
}

Result<PlainHttp> plain_http_option(const ProviderOptions& options) {
  const auto text = option_value(options, "allow-http");
  if (!text) return PlainHttp::never;
  if (*text == "loopback") return PlainHttp::loopback;
  return invalid_http_option("allow-http", "its one value is loopback: plain http goes nowhere else");
}

Result<HttpTlsFiles> tls_options(const ProviderOptions& options) {
  HttpTlsFiles files;
  files.authorities = option_value(options, "ca-file");
  files.client_certificate = option_value(options, "client-cert-file");
  files.client_key = option_value(options, "client-key-file");
  if (files.client_certificate.has_value() != files.client_key.has_value()) {
    return invalid_http_option(files.client_key ? "client-cert-file" : "client-key-file",
                               "it is missing; a client certificate needs its file and the file of its key");
  }
  return files;
}

Result<SecretBuffer> read_secret_option(Env& env, const std::string& option, const std::string& path) {
  const auto content = read_private_file(env, path, kSecretLimitBytes);
  if (!content.ok()) {
    Error error = with_context(content.error(), "the option " + option);
    if (error.code != ErrorCode::PermissionDenied && error.code != ErrorCode::MemoryLockFailed) {
      error.code = ErrorCode::KeyVaultUnavailable;
    }
    return error;
  }
  std::string_view text = text_of(content->view());
  if (text.ends_with('\n')) text.remove_suffix(text.ends_with("\r\n") ? 2 : 1);
  if (text.empty() || !std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; })) {
    return Error{ErrorCode::KeyVaultUnavailable,
                 "the option " + option + ": " + path + " is to hold one line of printable characters, no blanks"};
  }
  return SecretBuffer::copy_of(bytes_of(text));
}

}  // namespace vaultfs
