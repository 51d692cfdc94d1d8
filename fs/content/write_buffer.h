#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/content/slot.h"

namespace vaultfs {

struct Inode;

// Accounts for the dirty data in memory, keeps it below its bound, and knows the active slots by age. Thread-safe.
class WriteBuffer {
 public:
  struct Victim {
    std::weak_ptr<Inode> inode;
    std::uint64_t index = 0;
    Slot* slot = nullptr;  // to be compared only: it may be gone
  };
  // Stores a slot to make room. Called without a lock.
  using Evict = std::function<void(const Victim&)>;

  explicit WriteBuffer(std::uint64_t limit_bytes) : limit_(limit_bytes) {}

  // Room taken by one write; what it did not use goes back at the end.
  class Reservation {
   public:
    Reservation(WriteBuffer& buffer, std::uint64_t bytes) : buffer_(&buffer), left_(bytes) {}
    Reservation(Reservation&& other) noexcept
        : buffer_(std::exchange(other.buffer_, nullptr)), left_(std::exchange(other.left_, 0)) {}
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      if (buffer_ != nullptr && left_ > 0) buffer_->release(left_);
    }
    // Moves bytes from the reservation to a slot (more than reserved is possible and counted).
    void use(std::uint64_t bytes);

   private:
    WriteBuffer* buffer_;
    std::uint64_t left_;
  };

  // Waits until `bytes` fit, evicting the oldest slots meanwhile. An error if storing fails, so that no room will come.
  [[nodiscard]] Result<Reservation> reserve(std::uint64_t bytes, const Evict& evict);

  // A new active slot; its fixed cost and later pages are counted until release_slot.
  void add_slot(const std::shared_ptr<Inode>& inode, std::uint64_t index, Slot* slot);
  // A slot that could not be stored is active again.
  void reinstate(const std::shared_ptr<Inode>& inode, std::uint64_t index, Slot* slot);
  void add_bytes(std::uint64_t bytes);
  // The slot is no longer active but on its way to a chunk; its memory counts until it is free.
  void begin_storing(Slot* slot, std::uint32_t touched_pages);
  // The slot is about to be destroyed.
  void release_slot(Slot* slot, std::uint32_t touched_pages);

  // Storing failed or went well again: whether waiting makes sense.
  void storing_failed(const Error& error);
  void storing_succeeded();

  [[nodiscard]] std::uint64_t used_bytes() const;
  // Slots in memory, active or being stored: each may need a whole chunk of disk.
  [[nodiscard]] std::uint64_t slots() const;

 private:
  void release(std::uint64_t bytes);
  void forget_leaving(const Slot* slot) REQUIRES(mutex_);
  [[nodiscard]] std::optional<Victim> take_oldest() REQUIRES(mutex_);

  const std::uint64_t limit_;
  mutable Mutex mutex_;  // a leaf
  CondVar room_;
  std::uint64_t used_ GUARDED_BY(mutex_) = 0;
  std::uint64_t slots_ GUARDED_BY(mutex_) = 0;
  std::list<Victim> by_age_ GUARDED_BY(mutex_);  // oldest first
  std::unordered_map<Slot*, std::list<Victim>::iterator> places_
      GUARDED_BY(mutex_);                                                      // a slot stays alive while it is in here
  std::unordered_map<const Slot*, std::uint64_t> leaving_ GUARDED_BY(mutex_);  // being stored, with what they will free
  std::uint64_t leaving_bytes_ GUARDED_BY(mutex_) = 0;
  std::optional<Error> failure_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
