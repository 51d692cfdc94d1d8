#include "crypto/keyvault/provider_table.h"

#include <algorithm>
#include <array>

#include "crypto/keyvault/azure/azure_key_vault.h"
#include "crypto/keyvault/azure/options.h"
#include "crypto/keyvault/kmip/kmip_key_vault.h"
#include "crypto/keyvault/kmip/options.h"
#include "crypto/keyvault/pkcs11/options.h"
#include "crypto/keyvault/pkcs11/pkcs11_key_vault.h"
#include "crypto/keyvault/transit/options.h"
#include "crypto/keyvault/transit/transit_key_vault.h"

namespace vaultfs {
namespace {

constexpr std::array<Provider, 4> kProviders{{
    {"pkcs11", check_pkcs11_options, open_pkcs11_key_vault, pkcs11_identity_options},
    {"azure", check_azure_options, open_azure_key_vault, azure_identity_options},
    {"transit", check_transit_options, open_transit_key_vault, transit_identity_options},
    {"kmip", check_kmip_options, open_kmip_key_vault, kmip_identity_options},
}};

}  // namespace

Result<const Provider*> find_provider(std::string_view name) {
  std::string known;
  for (const Provider& provider : kProviders) {
    if (provider.name == name) return &provider;
    known += (known.empty() ? "" : ", ") + std::string(provider.name);
  }
  return Error{ErrorCode::InvalidArgument, "there is no provider of that name; the known ones: " + known +
                                               "; a local key vault is made with: vaultctl keyvault create NAME"};
}

Status check_identity_options(const ProviderOptions& options) {
  const auto some_take = [](const std::string& name) {
    return std::ranges::any_of(kProviders, [&name](const Provider& provider) {
      const auto taken = provider.identity_options();
      return std::ranges::find(taken, name) != taken.end();
    });
  };
  for (const auto& [name, value] : options) {
    if (some_take(name)) continue;
    std::string known;
    for (const Provider& provider : kProviders) {
      for (const std::string_view one : provider.identity_options()) {
        known += (known.empty() ? "" : ", ") + std::string(one);
      }
    }
    return Error{ErrorCode::InvalidArgument, "no provider takes the option " + name + " from an identity: " + known};
  }
  return ok_status();
}

}  // namespace vaultfs
