#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "base/thread/mutex.h"

namespace vaultfs {

// For requests that may have to wait for the vault's disk: only so many of them hold a thread at once, the others are
// kept here, so that there are always threads for requests that need no disk. Thread-safe.
class TurnQueue {
 public:
  using Task = std::function<void()>;  // must not throw

  explicit TurnQueue(unsigned turns) : free_turns_(turns > 0 ? turns : 1) {}
  TurnQueue(const TurnQueue&) = delete;
  TurnQueue& operator=(const TurnQueue&) = delete;
  ~TurnQueue() = default;

  // Takes a turn if one is free.
  [[nodiscard]] bool enter();
  // Keeps a task, which holds so many bytes, until somebody has a turn for it. False if the caller has got a turn and
  // is to do the task itself: one became free, or all room is taken and the caller has waited for one.
  [[nodiscard]] bool keep(Task task, std::size_t bytes);
  // Does what was kept, then gives the turn back. REQUIRES: the caller has a turn.
  void leave();

 private:
  struct Kept {
    Task task;
    std::size_t bytes;
  };

  Mutex mutex_;  // a leaf
  CondVar turn_free_;
  unsigned free_turns_ GUARDED_BY(mutex_);
  unsigned waiting_threads_ GUARDED_BY(mutex_) = 0;
  std::deque<Kept> kept_ GUARDED_BY(mutex_);  // not empty: all turns are taken, or about to be
  std::size_t kept_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
