#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "fs/content/byte_ranges.h"
#include "fs/content/slot_memory.h"
#include "fs/content/store_job.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// Makes the chunk, or the patch, that a slot becomes with what lies below it. Thread-safe, has no lock; called on a
// worker, without locks, while a use of the store's gate lasts.
class ChunkMaker {
 public:
  ChunkMaker(SegmentStore& store, SlotMemoryPool& memory) : store_(store), memory_(memory) {}

  // Puts the chunk of a job that runs, and gives its id; zero if it is zeros only. Fills gaps in the job's slot in
  // place. The errors of reading what lies below, and of storing.
  [[nodiscard]] Result<ChunkId> store(StoreJob& job);

 private:
  // Nothing if too much of the chunk is new for a patch.
  [[nodiscard]] Result<std::optional<ChunkId>> store_patch(StoreJob& job, std::uint32_t max_pages, bool over_lost);
  // Loads the map page that says what lies below, if that is not known yet.
  [[nodiscard]] Status find_base(StoreJob& job);
  // Fills gaps between the job's dirty ranges from what lies below.
  [[nodiscard]] Status fill_gaps(StoreJob& job, const std::vector<ByteRanges::Range>& gaps);

  SegmentStore& store_;
  SlotMemoryPool& memory_;
};

}  // namespace vaultfs
