#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {

struct Inode;

// The inodes with changes that the journal does not have yet, and the thread that looks after them now and then, so
// that nothing stays in memory alone for long. Thread-safe.
class Flusher {
 public:
  Flusher() = default;
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;
  ~Flusher() { stop(); }

  // Starts the thread, which calls `turn` twice a second, with no lock held. Once.
  void start(std::function<void()> turn);
  // Ends the thread after its turn. False if that was done before.
  bool stop();

  // Lists an inode as changed at `since_nanos` of the monotonic clock. The caller sees to it that none is listed twice
  // (Inode::on_flush_list), and may hold any lock.
  void add(const std::shared_ptr<Inode>& inode, std::int64_t since_nanos);
  // Takes those from the list that changed at `monotonic_nanos` or before, in the order they came; the ones that are
  // gone are left out.
  [[nodiscard]] std::vector<std::shared_ptr<Inode>> take_older_than(std::int64_t monotonic_nanos);

 private:
  struct Dirty {
    std::weak_ptr<Inode> inode;
    std::int64_t since_nanos;
  };
  void run(const std::function<void()>& turn);

  Mutex mutex_;  // a leaf
  CondVar wake_;
  std::vector<Dirty> list_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  Thread thread_;
};

}  // namespace vaultfs
