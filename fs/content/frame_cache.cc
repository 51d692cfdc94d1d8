#include "fs/content/frame_cache.h"

#include <utility>
#include <vector>

#include "base/thread/mutex.h"

namespace vaultfs {

std::shared_ptr<const FrameCache::Block> FrameCache::find(const Key& key) {
  if (empty_.load(std::memory_order_acquire)) return nullptr;
  const MutexLock lock(mutex_);
  const auto place = places_.find(key);
  if (place == places_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, place->second);
  return place->second->block;
}

void FrameCache::insert(const Key& key, std::shared_ptr<const Block> block) {
  std::vector<std::shared_ptr<const Block>> evicted;  // freed without the lock
  const MutexLock lock(mutex_);
  if (closed_) return;
  const auto [place, added] = places_.try_emplace(key);
  if (!added) return;
  used_ += block->memory_bytes();
  by_use_.push_front({key, std::move(block)});
  place->second = by_use_.begin();
  empty_.store(false, std::memory_order_release);
  while (used_ > limit_ && by_use_.size() > 1) {
    Resident& last = by_use_.back();
    used_ -= last.block->memory_bytes();
    places_.erase(last.key);
    evicted.push_back(std::move(last.block));
    by_use_.pop_back();
  }
}

void FrameCache::close() {
  std::list<Resident> gone;  // freed without the lock
  const MutexLock lock(mutex_);
  closed_ = true;
  gone.swap(by_use_);
  places_.clear();
  used_ = 0;
  empty_.store(true, std::memory_order_release);
}

void FrameCache::open() {
  const MutexLock lock(mutex_);
  closed_ = false;
}

}  // namespace vaultfs
