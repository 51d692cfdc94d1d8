#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// The chunks of a disk, by index; the zero id is a hole. Memory goes by what is set, so a disk of many TiB with little
// in it takes little. set() may be called by several threads for different indexes; reading only when they have ended.
class SparseChunks {
 public:
  explicit SparseChunks(std::uint64_t count = 0) : count_(count), blocks_((count + kBlock - 1) / kBlock) {}
  SparseChunks(SparseChunks&& other) noexcept : count_(other.count_), blocks_(std::move(other.blocks_)) {}
  SparseChunks& operator=(SparseChunks&& other) noexcept {
    count_ = other.count_;
    blocks_ = std::move(other.blocks_);
    return *this;
  }
  ~SparseChunks() = default;

  [[nodiscard]] std::uint64_t size() const noexcept { return count_; }
  void set(std::uint64_t index, const ChunkId& id);
  [[nodiscard]] ChunkId get(std::uint64_t index) const;
  // The first index from `from` on that is no hole; size() if there is none.
  [[nodiscard]] std::uint64_t next(std::uint64_t from) const;

 private:
  static constexpr std::uint64_t kBlock = 1024;
  using Block = std::array<ChunkId, kBlock>;
  std::uint64_t count_;
  Mutex mutex_;  // guards the making of blocks; a leaf
  std::vector<std::unique_ptr<Block>> blocks_;
};

// Deals the indexes of chunks out to threads, passing over those that need no work in long strides. Thread-safe.
class ChunkDealer {
 public:
  struct Run {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  // The first indexes from `from` on that need work; from `count` on there are none.
  using Find = std::function<Result<Run>(std::uint64_t from)>;
  // Told of those that were passed over, in order.
  using Skipped = std::function<Status(std::uint64_t begin, std::uint64_t end)>;
  ChunkDealer(std::uint64_t count, Find find, Skipped skipped)
      : count_(count), find_(std::move(find)), skipped_(std::move(skipped)) {}

  // Nothing when all are dealt out. The errors of `find` and `skipped`.
  [[nodiscard]] Result<std::optional<std::uint64_t>> next();

 private:
  const std::uint64_t count_;
  const Find find_;
  const Skipped skipped_;
  Mutex mutex_;  // held while the functions are called
  Run run_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
