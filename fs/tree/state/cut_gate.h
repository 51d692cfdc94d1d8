#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode.h"

namespace vaultfs {

// The lock between changes (shared) and cuts (exclusive): a waiting cut goes first, so that a stream of writers can't
// starve a snapshot. Not recursive.
class CutLock : public SharedMutex {
 public:
  CutLock() : SharedMutex(Prefer::writers) {}
};

// Holds one of several CutLocks shared, which one is decided at run time. It guards no field, so the analysis, which
// can't follow that, has nothing to know of it.
class ChangeHold {
 public:
  // Takes the lock.
  explicit ChangeHold(CutLock& lock) NO_THREAD_SAFETY_ANALYSIS : lock_(&lock) { lock.lock_shared(); }
  ChangeHold(ChangeHold&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
  ChangeHold& operator=(ChangeHold&&) = delete;
  ChangeHold(const ChangeHold&) = delete;
  ChangeHold& operator=(const ChangeHold&) = delete;
  ~ChangeHold() NO_THREAD_SAFETY_ANALYSIS {
    if (lock_ != nullptr) lock_->unlock_shared();
  }

 private:
  CutLock* lock_;
};

// What changes pass through, and a snapshot or checkpoint closes, so that it sees each change wholly or not at all.
// docs/decisions/0002-write-path.md, rule 1, has why it is made of two locks. Thread-safe. They come before
// InodeTable::mutex() and the inodes' mutexes; see docs/locks.md.
//
// A cut has two parts. In the first nothing else happens; it takes the files that are open for writing, so that it is
// short. In the second, content of what the cut has already may change, and the rest of the tree is taken: that takes
// as long as there are files. change_cut_ is held all the time, cut_ in the first part only.
class CutGate {
 public:
  // Held shared by every change while it happens in memory and is appended to the journal; given up before anything is
  // waited for. Waits for a whole cut.
  [[nodiscard]] CutLock& changes() RETURN_CAPABILITY(change_cut_) { return change_cut_; }
  // Held instead by what changes nothing that a cut sees: journalling. Waits for a cut's first part.
  [[nodiscard]] CutLock& journalling() RETURN_CAPABILITY(cut_) { return cut_; }
  // Passes with a change of this file's content: cut_ if no cut is under way or it has the file, else change_cut_.
  [[nodiscard]] ChangeHold lock_for_change(const Inode& inode);

  // Holds the gate closed for one cut. One at a time.
  class SCOPED_CAPABILITY Closed {
   public:
    // Waits for the changes that are passing.
    explicit Closed(CutGate& gate) ACQUIRE(gate.change_cut_, gate.cut_);
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    ~Closed() RELEASE();

    // Of this cut; what it has taken has it as its cut_number.
    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
    // The second part begins: content of what has this cut's number may change, and all content but that of `item`
    // (null: it is about all of them).
    void let_content_pass(const Item* item);

   private:
    CutGate& gate_;
    std::uint32_t number_ = 0;
    bool first_part_ = true;
  };

 private:
  CutLock change_cut_;
  CutLock cut_;
  // The number of the last cut, and the item it is about (null: all of them).
  std::uint32_t cut_number_ GUARDED_BY(cut_) = 0;
  const Item* cut_item_ GUARDED_BY(cut_) = nullptr;
  std::atomic<bool> cutting_{false};  // in its second part; set under cut_, reset under change_cut_
};

}  // namespace vaultfs
