#pragma once

#include <atomic>
#include <functional>

#include "base/result.h"

namespace vaultfs {

// How many threads chunk work (hashing, sealing, opening) is spread over: one per core.
[[nodiscard]] unsigned chunk_worker_count();

// Runs `work` on that many threads (the caller's is one of them) and waits for all. The first error is returned and
// sets `stop`, which `work` asks before each piece. `work` must not throw.
using ChunkWork = std::function<Status(const std::atomic<bool>& stop)>;
[[nodiscard]] Status run_in_parallel(unsigned threads, const ChunkWork& work);

}  // namespace vaultfs
