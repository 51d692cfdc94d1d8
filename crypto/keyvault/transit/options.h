#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/http/curl.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// The configuration of a Transit secrets engine of HashiCorp Vault or OpenBao:
//   address           https://HOST[:PORT], without /v1
//   mount             path of the engine, by default "transit"
//   namespace         of Vault Enterprise or OpenBao
//   token-file        a file with a token, read at each call, so that an agent may renew it; or
//   role-id, secret-id-file   an AppRole login (mounted at auth/approle)
//   region            a label to compare with a vault's
//   ca-file, client-cert-file, client-key-file, timeout, allow-http    see options.h
struct TransitOptions {
  HttpUrl address;
  std::string mount;
  std::string name_space;  // empty if none
  std::optional<std::string> token_file;
  std::string role_id;
  std::string secret_id_file;
  HttpTlsFiles tls;
  std::chrono::milliseconds timeout{};
  std::string region;

  // InvalidArgument naming the option.
  [[nodiscard]] static Result<TransitOptions> parse(const ProviderOptions& options);
};

// The key vault's options with those of a user-assigned identity in front of them: token-file, or role-id and
// secret-id-file, replace whichever of them the key vault has. An identity's other options are for other providers.
[[nodiscard]] ProviderOptions transit_options_of(const ProviderContext& context);

// The options that a user-assigned identity may bring itself, in the order in which they are shown.
[[nodiscard]] std::span<const std::string_view> transit_identity_options() noexcept;

}  // namespace vaultfs
