#pragma once

#include <cstdint>

namespace vaultfs::sim {

// From here on the kernel's generator, which makes the vault's secrets, gives bytes that follow from the seed: the
// program defines getrandom() itself, so that a history is the same each time. Simulation only.
void seed_random(std::uint64_t seed);

}  // namespace vaultfs::sim
