#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// Where a KMIP server is, and as whom it is spoken to. Holds no secret: the files are read for each connection, so that
// renewed certificates are used without more ado.
struct KmipSettings {
  std::string host;  // a name or an IP address, without brackets
  std::uint16_t port = 5696;
  std::string server_name;  // that the server's certificate must be for: `host` unless set
  std::filesystem::path ca_file;
  std::filesystem::path client_cert_file;
  std::filesystem::path client_key_file;
  std::string region;
  std::chrono::milliseconds timeout{30'000};  // of a whole call, with all it asks and tries again

  // "kmip://host:port"
  [[nodiscard]] std::string location() const;
};

// The options of a registration:
//   address           HOST[:PORT], [IPV6][:PORT]; port 5696 unless given
//   ca-file           PEM; who signed the server's certificate. There is no default: a KMIP server's is private
//   client-cert-file  PEM; the client's certificate and what leads to its CA
//   client-key-file   PEM, not encrypted; refused if others than its owner can read it
//   server-name       that the server's certificate must be for; the host of the address unless given
//   region            a label to compare with a vault's
//   timeout           seconds for a whole call, 1 to 300; 30 unless given
// Files are absolute paths. The client's two files may be left to the identities that use the key vault, but stand or
// miss together. InvalidArgument naming the option and the known ones.
[[nodiscard]] Status check_kmip_options(const ProviderOptions& options);

// The settings that a key vault's options and an identity's make together. Of the identity's only the client's two
// files are read: an identity says who asks, not whom. InvalidArgument.
[[nodiscard]] Result<KmipSettings> kmip_settings(const ProviderOptions& options, const ProviderIdentity& identity);

// The options that a user-assigned identity may bring itself, in the order in which they are shown.
[[nodiscard]] std::span<const std::string_view> kmip_identity_options() noexcept;

}  // namespace vaultfs
