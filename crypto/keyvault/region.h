#pragma once

#include <string>
#include <string_view>

namespace vaultfs {

// Where a vault or a key vault is: a label of its owner's, compared and never looked up.

// Whether it can be one: up to 64 printable ASCII characters. Empty is no region.
[[nodiscard]] bool is_region_label(std::string_view text) noexcept;

// What two labels are compared by: in lower case and without blanks, so that "West Europe", as portals show it, is
// "westeurope", as commands write it.
[[nodiscard]] std::string normal_region(std::string_view label);

}  // namespace vaultfs
