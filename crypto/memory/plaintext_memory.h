#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// Plaintext in memory that is kept from one use to the next, and goes when the vault is sealed (architecture, "The
// rotation rule", 7). What is freed is wiped by the program (tools/vaultfs/wiping_delete.cc); this is for what is not
// freed.

// While it lives, wipe_plaintext_memory() calls `wipe`, from any thread. Made and destroyed by the thread whose memory
// it is about, which when it destroys it holds no lock that `wipe` takes.
class WipedOnSealing {
 public:
  explicit WipedOnSealing(std::function<void()> wipe);
  WipedOnSealing(const WipedOnSealing&) = delete;
  WipedOnSealing& operator=(const WipedOnSealing&) = delete;
  ~WipedOnSealing();

  struct Entry;

 private:
  std::shared_ptr<Entry> entry_;
};

// Wipes all of it, in all threads; waits for uses under way. What is done afterwards may fill it again.
// REQUIRES: the caller has no PlaintextScratch in use.
void wipe_plaintext_memory();

// Room for plaintext that one thread uses again and again, because fresh memory each time would cost more than what it
// is for: `thread_local PlaintextScratch`. Its content is whatever the last use left.
class PlaintextScratch {
 public:
  // Nobody wipes it meanwhile.
  class Use {
   public:
    Use(Use&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)), bytes_(other.bytes_) {}
    Use& operator=(Use&&) = delete;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    // The lock came with the Use from use(), where the analysis can't follow it.
    ~Use() NO_THREAD_SAFETY_ANALYSIS {
      if (mutex_ != nullptr) mutex_->unlock();
    }
    [[nodiscard]] MutableByteView bytes() const noexcept { return bytes_; }

   private:
    friend class PlaintextScratch;
    Use(Mutex& mutex, MutableByteView bytes) : mutex_(&mutex), bytes_(bytes) {}
    Mutex* mutex_;
    MutableByteView bytes_;
  };

  PlaintextScratch() = default;
  PlaintextScratch(const PlaintextScratch&) = delete;
  PlaintextScratch& operator=(const PlaintextScratch&) = delete;
  ~PlaintextScratch();

  // REQUIRES: no other use of it is alive.
  [[nodiscard]] Use use(std::size_t size) EXCLUDES(mutex_);

 private:
  Bytes& grown_to(std::size_t size) REQUIRES(mutex_);
  void wipe() EXCLUDES(mutex_);

  Mutex mutex_;  // held by a Use, so other scratches' mutexes may be taken after it
  Bytes bytes_ GUARDED_BY(mutex_);
  WipedOnSealing registered_{[this] { wipe(); }};  // goes first
};

}  // namespace vaultfs
