#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "fs/content/set_aside.h"
#include "fs/content/space_guard.h"
#include "fs/content/write_buffer.h"

namespace vaultfs {

// What of the disk's space is promised: to the bytes in memory, that they can be stored, and to what fallocate has set
// aside, that it can be written. Nothing more is accepted than fits beside these. Thread-safe; a SetAside that is given
// to it is guarded by its inode's mutex. Only the guard's lock and the write buffer's are taken.
class SpacePromises {
 public:
  explicit SpacePromises(const WriteBuffer& buffer) : buffer_(buffer) {}
  // Before anything is asked. `kept` may be null.
  void start(Env& env, Env::Path vault, SpaceReserve* kept) { guard_.emplace(env, std::move(vault), kept); }

  // How much of a write fallocate has set space aside for: the chunks, and whether that is all of them.
  struct Share {
    std::uint64_t chunks = 0;
    bool whole = false;
  };
  // Of the bytes [offset, offset + length) of a file, of which there is one at least.
  [[nodiscard]] static Share share(const SetAside& file, std::uint64_t offset, std::uint64_t length);

  // NoSpace, as all below: the bytes do not fit beside what is promised.
  [[nodiscard]] Status check(std::uint64_t bytes) { return guard_->check(accepted_bytes() + set_aside_bytes(), bytes); }
  [[nodiscard]] Status check_write(std::uint64_t bytes, const Share& share);
  // See SpaceGuard.
  [[nodiscard]] Status check_accepted(std::uint64_t bytes) { return guard_->check_accepted(bytes); }

  // --- What fallocate has set aside.
  [[nodiscard]] bool any_set_aside() const { return set_aside_chunks_.load() > 0; }
  [[nodiscard]] std::uint64_t set_aside_bytes() const { return set_aside_chunks_.load() * kStoredChunkBytes; }
  // Chunks [begin, end) are set aside as a whole, whatever was before.
  void set_aside(SetAside& file, std::uint64_t begin, std::uint64_t end);
  // Of a chunk that is set aside, only this is still to be written.
  static void keep_rest(SetAside& file, std::uint64_t index, ByteRanges rest) { file.rest_[index] = std::move(rest); }
  // Chunks [begin, end) have been stored, or are wanted no more.
  void use(SetAside& file, std::uint64_t begin, std::uint64_t end) {
    if (!file.empty() && begin < end) take(file, begin, end);
  }
  // The same of bytes [begin, end) of a chunk.
  void use_part(SetAside& file, std::uint64_t index, std::uint32_t begin, std::uint32_t end) {
    if (!file.empty()) take_part(file, index, begin, end);
  }
  // Bytes [offset, end) of the file are a hole again, behind its end too.
  void give_back(SetAside& file, std::uint64_t offset, std::uint64_t end);

 private:
  void take(SetAside& file, std::uint64_t begin, std::uint64_t end);
  void take_part(SetAside& file, std::uint64_t index, std::uint32_t begin, std::uint32_t end);
  // The worst case of what is in memory.
  [[nodiscard]] std::uint64_t accepted_bytes() const;

  const WriteBuffer& buffer_;
  std::optional<SpaceGuard> guard_;                 // set by start()
  std::atomic<std::uint64_t> set_aside_chunks_{0};  // of all files
};

}  // namespace vaultfs
