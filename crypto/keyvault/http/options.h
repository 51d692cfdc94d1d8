#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/http/curl.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/keyvault/provider.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Options that the providers over http have in common. What is wrong is InvalidArgument naming the option.

// Fails at the first option that is none of `known`, at one without a value, and at a file whose path is relative; the
// message lists the known ones.
[[nodiscard]] Status check_known_options(const ProviderOptions& options, std::span<const std::string_view> known,
                                         std::string_view provider);

// "…-file" options take absolute paths: a mount's process works from another directory than the command that registered
// the key vault, and what lies in the caller's directory is anybody's. Success for options that name no file.
[[nodiscard]] Status check_absolute_file(std::string_view name, std::string_view value);

// The value; nothing if the option is not given.
[[nodiscard]] std::optional<std::string> option_value(const ProviderOptions& options, std::string_view name);
[[nodiscard]] Result<std::string> required_option(const ProviderOptions& options, std::string_view name);

// "timeout": whole seconds for one call with all its retries, 1 to 600, by default 30.
[[nodiscard]] Result<std::chrono::milliseconds> timeout_option(const ProviderOptions& options);

// "allow-http": the one value is "loopback".
[[nodiscard]] Result<PlainHttp> plain_http_option(const ProviderOptions& options);

// "region": a label (region.h); empty if not given.
[[nodiscard]] Result<std::string> region_option(const ProviderOptions& options);

// "ca-file", "client-cert-file", "client-key-file"; the latter two only together.
[[nodiscard]] Result<HttpTlsFiles> tls_options(const ProviderOptions& options);

// A secret of one line from a file that nobody but its owner may read; one newline at its end is not part of it. Of at
// most 16 KiB, printable ASCII. PermissionDenied, or KeyVaultUnavailable naming the option: a file that is missing on
// this machine says nothing about what the key vault allows.
[[nodiscard]] Result<SecretBuffer> read_secret_option(Env& env, const std::string& option, const std::string& path);

}  // namespace vaultfs
