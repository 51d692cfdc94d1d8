#pragma once

#include <cstdint>
#include <map>

#include "base/ids.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// An estimate of what nothing refers to, by segment: see SegmentStore::note_unused(). Thread-safe.
class UnusedBytes {
 public:
  void add(ContainerNumber segment, std::uint64_t bytes) {
    const MutexLock lock(mutex_);
    bytes_[segment] += bytes;
  }
  void set(ContainerNumber segment, std::uint64_t bytes) {
    const MutexLock lock(mutex_);
    if (bytes == 0) {
      bytes_.erase(segment);
    } else {
      bytes_[segment] = bytes;
    }
  }
  [[nodiscard]] std::map<ContainerNumber, std::uint64_t> all() const {
    const MutexLock lock(mutex_);
    return bytes_;
  }

 private:
  mutable Mutex mutex_;  // a leaf
  std::map<ContainerNumber, std::uint64_t> bytes_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
