#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/index/damaged_chunk.h"

namespace vaultfs {

// A damaged chunk that the vault remembers (docs/format.md, section 9.1).
struct KnownDamage {
  DamagedChunk chunk;
  UnixNanos since;
};

// A stretch of a file whose content can't be read.
struct DamagedRange {
  std::string path;          // inside the item
  std::uint64_t offset = 0;  // in the file
  std::uint64_t bytes = 0;
  Error error;  // of the first of them
};

// "1048576 bytes can't be read, first of disk0.img at byte 7340032"; empty for none.
[[nodiscard]] std::string describe(const std::vector<DamagedRange>& ranges);

// What was known to be damaged and can be read again.
struct HealedDamage {
  std::uint64_t chunks = 0;
  std::uint64_t points = 0;  // recovery points that need any of them
};

// What a look at what may be damaged came to.
struct ExaminedDamage {
  std::uint64_t found = 0;  // that was not known before
  std::uint64_t known = 0;  // afterwards
  HealedDamage healed;
};

}  // namespace vaultfs
