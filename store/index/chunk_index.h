#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "store/record/record.h"

namespace vaultfs {

// Where a chunk, map page or patch is stored.
struct ChunkPlace {
  ContainerNumber segment;
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;
  std::uint32_t plaintext_bytes = 0;
  RecordType type = RecordType::chunk;
  bool damaged = false;      // reading it failed: it no longer counts as stored
  bool healed = false;       // another segment may have a worse record of the same id, which this one stands in for
  bool unconfirmed = false;  // only an index file says so: nobody has looked at the record since
  bool operator==(const ChunkPlace&) const = default;
};

// The table from ChunkId to place: at most 40 bytes a chunk, whatever the number of chunks.
//
// Keeps the first 16 bytes of an id; record headers have the rest, and a reader compares it. Ids are keyed hashes, so
// that 16 bytes neither collide by accident nor can be made to. 256 open-addressing tables by the id's first byte; each
// grows by a fifth for itself, so that memory never doubles. Thread-safe.
class ChunkIndex {
 public:
  static constexpr std::size_t kKeyBytes = 16;
  using Key = std::array<std::byte, kKeyBytes>;
  // Limits of the packed form: segment numbers below 2^32, offsets below 32 GiB and multiples of 8.
  static constexpr std::uint64_t kMaxSegment = 0xffffffffULL;
  static constexpr std::uint64_t kMaxOffset = 0xffffffffULL * 8;

  ChunkIndex();
  ~ChunkIndex();
  ChunkIndex(const ChunkIndex&) = delete;
  ChunkIndex& operator=(const ChunkIndex&) = delete;

  [[nodiscard]] static Key key_of(const ChunkId& id);
  [[nodiscard]] std::optional<ChunkPlace> find(const ChunkId& id) const { return find(key_of(id)); }
  [[nodiscard]] std::optional<ChunkPlace> find(const Key& key) const;
  // Adds the chunk or replaces its place. What replaces a damaged place in another segment is healed, and what replaces
  // a healed one.
  void insert(const ChunkId& id, const ChunkPlace& place) { insert(key_of(id), place); }
  void insert(const Key& key, const ChunkPlace& place);
  // Adds the chunk unless an undamaged place in the same segment or a newer one is known: of two places the newer one
  // was chosen by somebody who knew the older. Why there are two is not known here: what stays is healed.
  void insert_if_better(const ChunkId& id, const ChunkPlace& place);
  // Both only if the chunk is still at `place`, apart from its marks. Erasing a healed one only marks it as damaged, so
  // that what is stored in its stead is healed, too.
  void erase_if_at(const ChunkId& id, const ChunkPlace& place);
  // True if it is there and was not marked yet.
  bool mark_damaged(const ChunkId& id, const ChunkPlace& place) { return mark_damaged(key_of(id), place); }
  bool mark_damaged(const Key& key, const ChunkPlace& place);
  // Takes the mark away: the record was read whole.
  void mark_sound(const Key& key, const ChunkPlace& place);
  // The record was looked at, and is there. Only if the chunk is still at `place`, apart from its marks.
  void confirm(const ChunkId& id, const ChunkPlace& place);

  // --- What is live, for compaction. A chunk is, if it was inserted or touched since the newest generation began.
  void begin_generation();
  // find(), and the chunk is live.
  std::optional<ChunkPlace> touch(const ChunkId& id) { return touch(key_of(id)); }
  std::optional<ChunkPlace> touch(const Key& key);
  // Removes the chunk if it is still at `place` and not live; false if it is live there.
  bool erase_if_dead_at(const ChunkId& id, const ChunkPlace& place);
  // Like for_each, with whether the chunk is live.
  void for_each_with_life(const std::function<void(const Key&, const ChunkPlace&, bool live)>& visit) const;

  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] std::uint64_t memory_bytes() const;
  // Calls `visit` for each chunk, in no order; a table is locked meanwhile, so `visit` must not call the index.
  void for_each(const std::function<void(const Key&, const ChunkPlace&)>& visit) const;
  // What it has in these segments.
  [[nodiscard]] std::vector<Key> keys_in(const std::set<ContainerNumber>& segments) const;

 private:
  static constexpr std::size_t kShards = 256;
  struct Shard;
  [[nodiscard]] Shard& shard(const Key& key) const;
  [[nodiscard]] std::uint8_t generation() const;
  std::unique_ptr<std::array<Shard, kShards>> shards_;
  // Its lower 6 bits count. Wraps around: a chunk that was last live 64 generations ago counts as live for one.
  std::atomic<std::uint8_t> generation_{1};
};

}  // namespace vaultfs
