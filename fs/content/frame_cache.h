#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/thread/mutex.h"
#include "fs/content/frame_memory.h"
#include "fs/content/slot_memory.h"

namespace vaultfs {

// Names a whole chunk instead of one of its frames.
inline constexpr std::uint32_t kWholeChunk = 0xffffffff;

// Opened plaintext in memory, bounded, least recently used first out: single frames of random reads and whole chunks
// that were read ahead. Thread-safe.
class FrameCache {
 public:
  struct Key {
    ChunkId chunk;
    std::uint32_t begin = 0;  // of the frame's content in the chunk
    bool operator==(const Key&) const = default;
  };
  // Immutable once it is in the cache. Its memory goes back to its pool, which wipes it when the vault is sealed.
  class Block {
   public:
    Block(FrameMemory memory, std::size_t bytes) : frame_(std::move(memory)), bytes_(frame_.view().first(bytes)) {}
    Block(SlotMemory memory, std::size_t bytes) : chunk_(std::move(memory)), bytes_(chunk_.view().first(bytes)) {}
    [[nodiscard]] MutableByteView bytes() noexcept { return bytes_; }
    [[nodiscard]] ByteView view() const noexcept { return bytes_; }
    // What it takes of the cache's room.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
      return chunk_.data() != nullptr ? bytes_.size() : frame_.view().size();
    }

   private:
    FrameMemory frame_;
    SlotMemory chunk_;
    MutableByteView bytes_;
  };

  explicit FrameCache(std::uint64_t limit_bytes) : limit_(limit_bytes) {}
  [[nodiscard]] std::uint64_t limit_bytes() const noexcept { return limit_; }

  [[nodiscard]] std::shared_ptr<const Block> find(const Key& key);
  void insert(const Key& key, std::shared_ptr<const Block> block);
  // Forgets everything; until open() nothing is taken in, also not from a read that is just under way.
  void close();
  void open();

 private:
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept {
      return std::hash<ChunkId>{}(key.chunk) ^ (std::size_t{key.begin} * 0x9e3779b97f4a7c15ULL);
    }
  };
  struct Resident {
    Key key;
    std::shared_ptr<const Block> block;
  };

  const std::uint64_t limit_;
  Mutex mutex_;  // a leaf
  bool closed_ GUARDED_BY(mutex_) = false;
  std::uint64_t used_ GUARDED_BY(mutex_) = 0;
  std::list<Resident> by_use_ GUARDED_BY(mutex_);  // most recent first
  std::unordered_map<Key, std::list<Resident>::iterator, KeyHash> places_ GUARDED_BY(mutex_);
  std::atomic<bool> empty_{true};  // for a look without the lock
};

}  // namespace vaultfs
