#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "crypto/keyvault/http/exchange.h"

namespace vaultfs {

// Files of the machine's configuration, in PEM. They are read at each call, so that what replaces them counts at once.
struct HttpTlsFiles {
  std::optional<Env::Path> authorities;         // trusted instead of the system's
  std::optional<Env::Path> client_certificate;  // with its chain
  std::optional<Env::Path> client_key;          // nobody but its owner may read it
  // The servers (HttpUrl::origin) for which `authorities` stand in the place of the system's; empty: for all.
  std::vector<std::string> authorities_for = {};
};

// libcurl, HTTP/1.1 over TLS 1.2 or newer, server certificates and names always checked. All its memory is locked and
// wiped when it is freed; a connection lives as long as its session. open_session gives PermissionDenied for a client
// key that others may read, KeyVaultUnavailable for a file that cannot be read.
[[nodiscard]] std::shared_ptr<HttpTransport> make_curl_transport(Env& env, HttpTlsFiles files);

}  // namespace vaultfs
