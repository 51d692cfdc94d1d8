#include "fs/frame_cache.h"

#include <string.h>

#include <utility>
#include <vector>

namespace vaultfs {

FrameCache::Block::Block(std::size_t bytes) : own_(bytes), bytes_(own_) {}
FrameCache::Block::Block(SlotMemory memory, std::size_t bytes)
    : memory_(std::move(memory)), bytes_(memory_.view().first(bytes)) {}
FrameCache::Block::~Block() {
  // Pool memory is wiped by the pool, when the vault is sealed.
  if (!own_.empty()) ::explicit_bzero(own_.data(), own_.size());
}

std::shared_ptr<const FrameCache::Block> FrameCache::find(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto place = places_.find(key);
  if (place == places_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, place->second);
  return place->second->block;
}

void FrameCache::insert(const Key& key, std::shared_ptr<const Block> block) {
  std::vector<std::shared_ptr<const Block>> evicted;  // freed without the lock
  const std::lock_guard lock(mutex_);
  if (closed_ || places_.contains(key)) return;
  used_ += block->view().size();
  by_use_.push_front({key, std::move(block)});
  places_[key] = by_use_.begin();
  while (used_ > limit_ && by_use_.size() > 1) {
    Resident& last = by_use_.back();
    used_ -= last.block->view().size();
    places_.erase(last.key);
    evicted.push_back(std::move(last.block));
    by_use_.pop_back();
  }
}

void FrameCache::close() {
  std::list<Resident> gone;  // freed without the lock
  const std::lock_guard lock(mutex_);
  closed_ = true;
  gone.swap(by_use_);
  places_.clear();
  used_ = 0;
}

void FrameCache::open() {
  const std::lock_guard lock(mutex_);
  closed_ = false;
}

}  // namespace vaultfs
