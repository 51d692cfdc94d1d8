#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// What a re-encryption is asked for, and what comes of it.

struct ReencryptRequest {
  std::uint64_t bytes_per_second = 0;  // of stored data read; 0: as fast as it goes
  bool without_grace = false;          // what is superseded goes at once, and not after a day
};

struct ReencryptOutcome {
  JobInfo job;        // as ended
  EpochNumber epoch;  // the newest: nothing needed is left under those before, but for what is damaged
  std::uint64_t moved_chunks = 0;
  std::uint64_t moved_bytes = 0;  // as stored before
  std::uint64_t reencrypted_points = 0;
  // Of the epochs before: segments that are gone; that nothing needs any more, but which stay while the grace lasts or
  // somebody has a use for them; and that hold something needed still.
  std::uint64_t removed_segments = 0, removed_bytes = 0;
  std::uint64_t waiting_segments = 0, waiting_bytes = 0;
  std::uint64_t left_segments = 0, left_bytes = 0;
  std::uint64_t damaged_records = 0;
  std::vector<std::string> damage;  // of the first of them, for people
};

}  // namespace vaultfs
