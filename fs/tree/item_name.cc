#include "fs/tree/working_tree.h"

namespace vaultfs {

std::optional<std::string> item_name_problem(std::string_view name) {
  constexpr std::size_t kMaxItemNameBytes = 128;
  if (name.empty()) return "an item's name can't be empty";
  if (name.size() > kMaxItemNameBytes) return "an item's name has at most 128 bytes";
  if (name.front() == '.' || name.front() == '-') return "an item's name can't begin with '.' or '-'";
  for (const char character : name) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7f) return "an item's name can't hold control characters";
    if (character == '/' || character == '@') return "an item's name can't hold '/' or '@'";
  }
  return std::nullopt;
}

}  // namespace vaultfs
