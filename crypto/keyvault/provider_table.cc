#include "crypto/keyvault/provider_table.h"

#include <array>

#include "crypto/keyvault/azure_key_vault.h"
#include "crypto/keyvault/kmip_key_vault.h"
#include "crypto/keyvault/kmip_options.h"
#include "crypto/keyvault/pkcs11_key_vault.h"
#include "crypto/keyvault/transit_key_vault.h"

namespace vaultfs {
namespace {

constexpr std::array<Provider, 4> kProviders{{
    {"pkcs11", check_pkcs11_options, open_pkcs11_key_vault},
    {"azure", check_azure_options, open_azure_key_vault},
    {"transit", check_transit_options, open_transit_key_vault},
    {"kmip", check_kmip_options, open_kmip_key_vault},
}};

}  // namespace

std::span<const Provider> external_providers() noexcept { return kProviders; }

Result<const Provider*> find_provider(std::string_view name) {
  std::string known;
  for (const Provider& provider : kProviders) {
    if (provider.name == name) return &provider;
    known += (known.empty() ? "" : ", ") + std::string(provider.name);
  }
  return Error{ErrorCode::InvalidArgument, "there is no provider of that name; the known ones: " + known +
                                               "; a local key vault is made with: vaultctl keyvault create NAME"};
}

}  // namespace vaultfs
