#pragma once

#include <memory>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// The Transit secrets engine of HashiCorp Vault or OpenBao as a key vault. A key of the engine is a key, its version
// numbers are the version ids. aes256-gcm96 keys wrap with constant associated data, RSA keys by OAEP with SHA-256
// (which authenticates nobody: anyone with the public key can wrap). What is stored of a wrap is the engine's own
// "vault:vN:…". Dates do not exist there, single versions cannot be disabled: the engine has a floor
// (min_decryption_version), so set_enabled works only where the floor can express it.

// InvalidArgument naming the option and the known ones; see options.h.
[[nodiscard]] Status check_transit_options(const ProviderOptions& options);

// Nothing is sent before the first call. InvalidArgument as check_transit_options.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_transit_key_vault(const ProviderContext& context);
// With the way to the server replaced.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_transit_key_vault(const ProviderContext& context,
                                                                                   HttpMeans means);

}  // namespace vaultfs
