#pragma once

#include <optional>
#include <set>

#include "base/thread/mutex.h"
#include "store/index/chunk_index.h"

namespace vaultfs {

// Who stores which chunk right now, so that what many put at once is stored once. Thread-safe; its lock comes before
// the index's.
class PutClaims {
 public:
  // The right to store one chunk; whoever wants to store the same waits for its end.
  class Claim {
   public:
    Claim(PutClaims& claims, const ChunkIndex::Key& key) : claims_(claims), key_(key) {}
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { claims_.end(key_); }

   private:
    PutClaims& claims_;
    const ChunkIndex::Key key_;
  };

  // Nothing if the chunk is stored by then, which `is_stored` tells.
  template <class IsStored>
  [[nodiscard]] std::optional<Claim> take(const ChunkIndex::Key& key, const IsStored& is_stored) {
    const MutexLock lock(mutex_);
    while (true) {
      if (is_stored()) return std::nullopt;
      if (claims_.insert(key).second) return std::optional<Claim>(std::in_place, *this, key);
      changed_.wait(mutex_);
    }
  }

 private:
  void end(const ChunkIndex::Key& key) {
    {
      const MutexLock lock(mutex_);
      claims_.erase(key);
    }
    changed_.notify_all();
  }

  Mutex mutex_;
  CondVar changed_;
  std::set<ChunkIndex::Key> claims_ GUARDED_BY(mutex_);  // chunks being stored
};

}  // namespace vaultfs
