#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// A kind of key vault other than the local one, as `keyvault add --provider NAME` names it.
struct Provider {
  std::string_view name;
  // Success if these options make sense together: InvalidArgument naming the option and the known ones.
  Status (*check_options)(const ProviderOptions& options);
  // Lazy and cheap: nothing is called or loaded before the first use.
  Result<std::unique_ptr<AdministeredKeyVault>> (*open)(const ProviderContext& context);
  // What it takes from an identity in the place of its own options.
  std::span<const std::string_view> (*identity_options)() noexcept;
};

inline constexpr std::string_view kLocalProvider = "local";

// InvalidArgument naming the known ones.
[[nodiscard]] Result<const Provider*> find_provider(std::string_view name);

// The options that a user-assigned identity may have: what some provider takes from it in the place of its own.
// InvalidArgument naming one that none knows; secrets are named by their files, never given.
[[nodiscard]] Status check_identity_options(const ProviderOptions& options);

}  // namespace vaultfs
