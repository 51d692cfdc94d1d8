#pragma once

#include <openssl/ssl.h>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/kmip/options.h"
#include "crypto/openssl_handle.h"

namespace vaultfs {

using SslContext = OpensslHandle<SSL_CTX, SSL_CTX_free>;

// How vaultfs does TLS with that server: TLS 1.2 or later, certificates checked, the client's certificate and key
// loaded from their files. KeyVaultUnavailable naming the file that is missing or holds no such thing; PermissionDenied
// if the key file is open to others; MemoryLockFailed.
[[nodiscard]] Result<SslContext> make_kmip_ssl_context(Env& env, const KmipSettings& settings);

}  // namespace vaultfs
