#pragma once

#include <memory>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// Azure Key Vault over its REST API 7.4. RSA keys (in software or HSM) wrap by RSA-OAEP-256; keys of other types are
// listed with theirs. The service lets a disabled version wrap and reads dates in its own way, so that both are checked
// here too, before each wrap and unwrap. Soft delete and purge protection are read from the recovery level of a key.

// InvalidArgument naming the option and the known ones; see options.h.
[[nodiscard]] Status check_azure_options(const ProviderOptions& options);

// Nothing is sent before the first call. InvalidArgument as check_azure_options, and for an identity's options.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_azure_key_vault(const ProviderContext& context);
// With the way to the servers replaced.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_azure_key_vault(const ProviderContext& context,
                                                                                 HttpMeans means);

}  // namespace vaultfs
