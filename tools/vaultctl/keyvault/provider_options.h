#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// NAME=VALUE texts of the command line. Usage if one has another form or a name comes twice.
[[nodiscard]] Result<ProviderOptions> parse_provider_options(const std::vector<std::string>& texts);

}  // namespace vaultfs
