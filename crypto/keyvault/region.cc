#include "crypto/keyvault/region.h"

#include <algorithm>

#include "base/ascii.h"

namespace vaultfs {
namespace {

constexpr std::size_t kRegionLabelLimit = 64;

}  // namespace

bool is_region_label(std::string_view text) noexcept {
  return text.size() <= kRegionLabelLimit && std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string normal_region(std::string_view label) {
  std::string normal = ascii_lower(label);
  std::erase(normal, ' ');
  return normal;
}

}  // namespace vaultfs
