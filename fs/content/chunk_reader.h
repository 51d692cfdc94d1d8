#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "base/thread/worker_pool.h"
#include "fs/content/frame_cache.h"
#include "fs/content/frame_memory.h"
#include "fs/content/slot_memory.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// Reads pieces of stored chunks through the frame cache, and reads chunks ahead on the workers. Thread-safe; holds no
// lock during a read.
class ChunkReader {
 public:
  ChunkReader(SegmentStore& store, FrameCache& cache, SlotMemoryPool& chunks, FrameMemoryPool& frames,
              WorkerPool& workers)
      : store_(store), cache_(cache), memory_(chunks), frames_(frames), workers_(workers) {}

  // Fills `out` with the chunk's bytes from `offset`; zeros beyond its stored length, and for a zero id.
  [[nodiscard]] Status read(const ChunkId& id, std::uint32_t offset, MutableByteView out);
  // Has the chunk opened by a worker soon, unless it is in the cache or under way.
  void read_ahead(const ChunkId& id);

 private:
  // A chunk that a worker was asked for. Guarded by mutex_.
  struct Ahead {
    bool started = false;
    bool given_up = false;  // a reader was faster, or the worker is done
  };
  void open_ahead(const ChunkId& id, const std::shared_ptr<Ahead>& ahead);
  // The whole chunk, if it is cached or a worker is just opening it.
  [[nodiscard]] std::shared_ptr<const FrameCache::Block> whole_chunk(const ChunkId& id);
  // By the cache, whose unit is the frame.
  [[nodiscard]] Status read_frames(const ChunkId& id, std::uint32_t frame_bytes, std::uint32_t offset,
                                   MutableByteView out);
  // The frame from `begin` on, opened or from the cache.
  [[nodiscard]] Result<std::shared_ptr<const FrameCache::Block>> frame(const ChunkId& id, std::uint32_t begin,
                                                                       std::uint32_t bytes);

  SegmentStore& store_;
  FrameCache& cache_;
  SlotMemoryPool& memory_;
  FrameMemoryPool& frames_;
  WorkerPool& workers_;
  Mutex mutex_;  // a leaf
  CondVar finished_;
  std::unordered_map<ChunkId, std::shared_ptr<Ahead>> ahead_ GUARDED_BY(mutex_);
  std::atomic<std::size_t> under_way_{0};  // of ahead_, for a look without the lock
};

}  // namespace vaultfs
