#include "tests/simulation/seeded_random.h"

#include <sys/types.h>

#include <cstddef>
#include <mutex>
#include <random>

namespace vaultfs::sim {
namespace {

std::mutex generator_mutex;  // guards the generator; a leaf

std::mt19937_64& generator() {
  static std::mt19937_64 instance;
  return instance;
}

}  // namespace

void seed_random(std::uint64_t seed) {
  const std::lock_guard lock(generator_mutex);
  generator().seed(seed ^ 0x5eed5eed5eed5eedULL);
}

}  // namespace vaultfs::sim

// In the place of the C library's.
extern "C" ssize_t getrandom(void* buffer, std::size_t size, unsigned /*flags*/) {
  const std::lock_guard lock(vaultfs::sim::generator_mutex);
  auto* bytes = static_cast<unsigned char*>(buffer);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(vaultfs::sim::generator()() >> 32U);
  return static_cast<ssize_t>(size);
}
