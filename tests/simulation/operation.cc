#include "tests/simulation/operation.h"

#include <sstream>

namespace vaultfs::sim {
namespace {

constexpr std::array kKindNames{
#define VAULTFS_SIM_V(name) std::string_view(#name),
    VAULTFS_SIM_OPERATIONS(VAULTFS_SIM_V)
#undef VAULTFS_SIM_V
};

}  // namespace

std::string_view name_of(Kind kind) noexcept { return kKindNames[static_cast<std::size_t>(kind)]; }

std::string Operation::text() const {
  std::string out(name_of(kind));
  const std::array values{a, b, c, d, e};
  std::size_t count = values.size();
  while (count > 0 && values[count - 1] == 0) --count;
  for (std::size_t i = 0; i < count; ++i) out += " " + std::to_string(values[i]);
  return out;
}

std::optional<Operation> Operation::parse(std::string_view line) {
  std::istringstream in{std::string(line)};
  std::string word;
  in >> word;
  for (std::size_t i = 0; i < kKindNames.size(); ++i) {
    if (kKindNames[i] != word) continue;
    Operation operation{static_cast<Kind>(i)};
    for (std::uint64_t* value : {&operation.a, &operation.b, &operation.c, &operation.d, &operation.e}) in >> *value;
    return operation;
  }
  return std::nullopt;
}

}  // namespace vaultfs::sim
