#include "crypto/keyvault/provider_table.h"

#include <array>

namespace vaultfs {
namespace {

constexpr std::array<Provider, 4> kProviders{{
    {"pkcs11", nullptr, nullptr},
    {"azure", nullptr, nullptr},
    {"transit", nullptr, nullptr},
    {"kmip", nullptr, nullptr},
}};

}  // namespace

std::span<const Provider> external_providers() noexcept { return kProviders; }

Result<const Provider*> find_provider(std::string_view name) {
  std::string known;
  for (const Provider& provider : kProviders) {
    if (provider.name == name) {
      if (provider.open != nullptr) return &provider;
      return Error{ErrorCode::NotSupportedByProvider,
                   "the provider " + std::string(name) + " is not built into this vaultfs; use one that has it"};
    }
    known += (known.empty() ? "" : ", ") + std::string(provider.name);
  }
  return Error{ErrorCode::InvalidArgument, "there is no provider of that name; the known ones: " + known +
                                               "; a local key vault is made with: vaultctl keyvault create NAME"};
}

}  // namespace vaultfs
