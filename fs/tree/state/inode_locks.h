#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "base/thread/mutex.h"
#include "fs/tree/format/entry.h"
#include "fs/tree/state/inode.h"

namespace vaultfs {

// Holds several inodes' mutexes, locked in the order of their numbers; null and repeated ones are skipped. The analysis
// can't follow a list of locks: after it, inode.mutex.assert_held() says so of each.
class InodeLocks {
 public:
  InodeLocks(std::initializer_list<Inode*> inodes) : inodes_(inodes) {
    std::erase(inodes_, nullptr);
    std::sort(inodes_.begin(), inodes_.end(), [](const Inode* a, const Inode* b) { return a->number < b->number; });
    inodes_.erase(std::unique(inodes_.begin(), inodes_.end()), inodes_.end());
    lock_all();
  }
  InodeLocks(const InodeLocks&) = delete;
  InodeLocks& operator=(const InodeLocks&) = delete;
  ~InodeLocks() NO_THREAD_SAFETY_ANALYSIS {
    for (Inode* inode : inodes_) inode->mutex.unlock();
  }

 private:
  void lock_all() NO_THREAD_SAFETY_ANALYSIS {
    for (Inode* inode : inodes_) inode->mutex.lock();
  }
  std::vector<Inode*> inodes_;
};

// The journal's record of an inode's attributes.
[[nodiscard]] inline SetAttributes attributes_record(const Inode& inode) REQUIRES_SHARED(inode.mutex) {
  return {inode.number, inode.mode, inode.uid, inode.gid, inode.atime, inode.mtime, inode.ctime};
}

// The same with ctime, and mtime if the content `changed`, at `time`: what the inode becomes once the entry is logged.
[[nodiscard]] inline SetAttributes touched_record(const Inode& inode, UnixNanos time, bool content_changed)
    REQUIRES_SHARED(inode.mutex) {
  SetAttributes record = attributes_record(inode);
  record.ctime = time;
  if (content_changed) record.mtime = time;
  return record;
}

inline void apply_record(Inode& inode, const SetAttributes& record, Lsn changed) REQUIRES(inode.mutex) {
  inode.mode = record.mode;
  inode.uid = record.uid;
  inode.gid = record.gid;
  inode.atime = record.atime;
  inode.mtime = record.mtime;
  inode.ctime = record.ctime;
  inode.changed = std::max(inode.changed, changed);
}

}  // namespace vaultfs
