#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// Files in a vault's directory that hold blocks and inodes for the day on which somebody else has taken the rest of the
// disk, or a quota has (docs/format.md, section 1.1). Removing, committing and rotating give them up, one at a time
// and only when they find no room; new content does not. The owner makes them, and makes them again when there is room.
// Thread-safe after attach().
class SpaceReserve {
 public:
  static constexpr unsigned kFiles = 32;
  static constexpr std::uint64_t kLeastBytes = 16ULL << 20;  // of all of them
  static constexpr std::uint64_t kMostBytes = 64ULL << 20;

  // Who asks for room.
  enum class For : std::uint8_t {
    nothing,       // that can be done without
    content,       // what segments take: up to half of the reserve, and only while ContentUse allows it
    durable_step,  // all of it
  };

  // Whether a name in the vault's directory is that of a file of the reserve.
  [[nodiscard]] static bool is_file(std::string_view name);

  SpaceReserve() = default;
  SpaceReserve(const SpaceReserve&) = delete;
  SpaceReserve& operator=(const SpaceReserve&) = delete;

  // `env` must outlive it. Before all else, once.
  void attach(Env& env, Env::Path directory);

  // REQUIRES: the caller owns the vault. Makes what is missing of `bytes` (within the bounds above), or holds nothing
  // (a sparse copy), as long as some room is left besides. What finds none is left for the next call; it costs nothing
  // while all is there.
  void fill(std::uint64_t bytes);
  // The same, as much as at the last call; nothing before the first.
  void fill_again();

  // Gives a file up, so that the caller tries once more. False if there is none left for that purpose.
  [[nodiscard]] bool give_up(For purpose);

  struct State {
    std::uint64_t bytes = 0;         // that the files hold
    std::uint64_t wanted_bytes = 0;  // of the last fill(); 0: by a reader
    unsigned files = 0;
    bool whole = false;
  };
  // Never waits for the disk once it has been looked at: df and each write ask, also while the disk stands still.
  [[nodiscard]] State state();
  // Bytes that the files hold.
  [[nodiscard]] std::uint64_t held_bytes() { return state().bytes; }
  // Something was given up and could not be made again: there is no room for new content, whatever statfs says.
  [[nodiscard]] bool spent() const { return spent_.load(); }
  // What happened to it since the last call, for people.
  [[nodiscard]] std::vector<std::string> take_news();

  // While one lives, what segments take is part of what must succeed: a commit, a clean end, a compaction. May outlive
  // the reserve.
  class ContentUse {
   public:
    // Null: of a vault without a reserve.
    explicit ContentUse(const SpaceReserve* reserve) : uses_(reserve == nullptr ? nullptr : reserve->content_uses_) {
      if (uses_ != nullptr) ++*uses_;
    }
    ContentUse(const ContentUse&) = delete;
    ContentUse& operator=(const ContentUse&) = delete;
    ~ContentUse() {
      if (uses_ != nullptr) --*uses_;
    }

   private:
    const std::shared_ptr<std::atomic<unsigned>> uses_;
  };

 private:
  [[nodiscard]] Env::Path path_of(unsigned number) const;
  // Looks at what is there, once.
  void look() REQUIRES(mutex_);
  void fill_to(std::uint64_t bytes) REQUIRES(mutex_);
  // Of one file.
  [[nodiscard]] Status make(unsigned number, std::uint64_t bytes) REQUIRES(mutex_);
  // Makes a file that takes so much room on the disk; a failure leaves none.
  [[nodiscard]] Status take_room(const Env::Path& path, std::uint64_t bytes);
  // Whether there is room beside the reserve, tried out: of a quota that nobody tells of, free_space() knows nothing.
  [[nodiscard]] bool has_room_besides();
  [[nodiscard]] Status write_noise(File& file, std::uint64_t bytes);
  [[nodiscard]] State state_now() const REQUIRES(mutex_);
  // Makes what has changed known to state().
  void tell_state() REQUIRES(mutex_);

  Env* env_ = nullptr;  // set by attach(), as the next
  Env::Path directory_;
  std::atomic<bool> spent_{false};
  const std::shared_ptr<std::atomic<unsigned>> content_uses_ = std::make_shared<std::atomic<unsigned>>(0);
  Mutex mutex_;  // held while the files are made and removed; under it only state_mutex_ is taken
  bool looked_ GUARDED_BY(mutex_) = false;
  std::vector<std::uint64_t> held_ GUARDED_BY(mutex_);  // by each file, once looked at: bytes on the disk
  std::vector<bool> there_ GUARDED_BY(mutex_);
  std::uint64_t wanted_bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<std::string> news_ GUARDED_BY(mutex_);
  Mutex state_mutex_;                                    // a leaf
  std::optional<State> state_ GUARDED_BY(state_mutex_);  // once looked at
};

}  // namespace vaultfs
