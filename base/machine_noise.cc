#include "base/machine_noise.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ctime>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace vaultfs {
namespace {

#ifdef __x86_64__
bool has_rdrand() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_RDRND) != 0;
}

// Zero if it has none to give just now.
__attribute__((target("rdrnd"))) std::uint64_t rdrand() noexcept {
  unsigned long long value = 0;  // the type that the intrinsic wants
  return _rdrand64_step(&value) == 1 ? value : 0;
}

std::uint64_t processor_number() noexcept {
  static const bool has = has_rdrand();
  return has ? rdrand() : 0;
}
#else
std::uint64_t processor_number() noexcept { return 0; }
#endif

std::uint64_t time_number() noexcept {
  struct timespec now {};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0) return 0;
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

void mix_in_machine_noise(MutableByteView out) noexcept {
  const std::uint64_t words[] = {processor_number() ^ time_number(), processor_number()};
  std::byte noise[sizeof words];
  std::memcpy(noise, words, sizeof words);
  const std::size_t size = std::min(out.size(), sizeof words);
  for (std::size_t i = 0; i < size; ++i) out[i] ^= noise[i];
}

}  // namespace vaultfs
