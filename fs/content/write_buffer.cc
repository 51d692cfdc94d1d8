#include "fs/content/write_buffer.h"

#include <algorithm>
#include <chrono>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

// What a slot costs besides its touched pages: page tables and its own records.
constexpr std::uint64_t kSlotOverheadBytes = 4096;

}  // namespace

void WriteBuffer::Reservation::use(std::uint64_t bytes) {
  const std::uint64_t from_here = std::min(bytes, left_);
  left_ -= from_here;
  if (bytes > from_here) buffer_->add_bytes(bytes - from_here);
}

Result<WriteBuffer::Reservation> WriteBuffer::reserve(std::uint64_t bytes, const Evict& evict) {
  MutexLock lock(mutex_);
  bool evicted = false;
  while (used_ + bytes > limit_ && used_ > 0) {
    if (failure_.has_value() && evicted) return *failure_;
    // No more than is needed: a slot that stays may still fill up, or go to the journal at a tenth of the cost.
    const bool enough_leaves = used_ + bytes - leaving_bytes_ <= limit_;
    std::optional<Victim> victim = enough_leaves ? std::nullopt : take_oldest();
    if (victim.has_value()) {
      lock.unlock();
      evict(*victim);
      evicted = true;
      lock.lock();
      continue;
    }
    if (failure_.has_value()) return *failure_;
    // The time-out only guards against a failure reported meanwhile.
    room_.wait_for(mutex_, std::chrono::milliseconds(200));
  }
  used_ += bytes;
  return Reservation(*this, bytes);
}

std::optional<WriteBuffer::Victim> WriteBuffer::take_oldest() {
  // A slot written since it was looked at last gets a second chance, once a round.
  for (std::size_t looked = 0; !by_age_.empty(); ++looked) {
    const auto place = by_age_.begin();
    if (looked < places_.size() && place->slot->take_recently_written()) {
      by_age_.splice(by_age_.end(), by_age_, place);
      continue;
    }
    Victim victim = std::move(*place);
    places_.erase(victim.slot);
    by_age_.erase(place);
    return victim;
  }
  return std::nullopt;
}

void WriteBuffer::add_slot(const std::shared_ptr<Inode>& inode, std::uint64_t index, Slot* slot) {
  const MutexLock lock(mutex_);
  used_ += kSlotOverheadBytes;
  ++slots_;
  places_[slot] = by_age_.insert(by_age_.end(), {inode, index, slot});
}

void WriteBuffer::reinstate(const std::shared_ptr<Inode>& inode, std::uint64_t index, Slot* slot) {
  const MutexLock lock(mutex_);
  forget_leaving(slot);
  if (!places_.contains(slot)) places_[slot] = by_age_.insert(by_age_.end(), {inode, index, slot});
}

void WriteBuffer::add_bytes(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  used_ += bytes;
}

void WriteBuffer::forget_leaving(const Slot* slot) {
  const auto leaving = leaving_.find(slot);
  if (leaving == leaving_.end()) return;
  leaving_bytes_ -= leaving->second;
  leaving_.erase(leaving);
}

void WriteBuffer::begin_storing(Slot* slot, std::uint32_t touched_pages) {
  const MutexLock lock(mutex_);
  if (const auto place = places_.find(slot); place != places_.end()) {
    by_age_.erase(place->second);
    places_.erase(place);
  }
  const std::uint64_t bytes = kSlotOverheadBytes + std::uint64_t{touched_pages} * kSlotPageBytes;
  if (leaving_.emplace(slot, bytes).second) leaving_bytes_ += bytes;
}

void WriteBuffer::release_slot(Slot* slot, std::uint32_t touched_pages) {
  {
    const MutexLock lock(mutex_);
    if (const auto place = places_.find(slot); place != places_.end()) {
      by_age_.erase(place->second);
      places_.erase(place);
    }
    forget_leaving(slot);
    --slots_;
    used_ -= kSlotOverheadBytes + std::uint64_t{touched_pages} * kSlotPageBytes;
  }
  room_.notify_all();
}

void WriteBuffer::release(std::uint64_t bytes) {
  {
    const MutexLock lock(mutex_);
    used_ -= bytes;
  }
  room_.notify_all();
}

void WriteBuffer::storing_failed(const Error& error) {
  {
    const MutexLock lock(mutex_);
    failure_ = error;
  }
  room_.notify_all();
}

void WriteBuffer::storing_succeeded() {
  const MutexLock lock(mutex_);
  failure_.reset();
}

std::uint64_t WriteBuffer::used_bytes() const {
  const MutexLock lock(mutex_);
  return used_;
}

std::uint64_t WriteBuffer::slots() const {
  const MutexLock lock(mutex_);
  return slots_;
}

}  // namespace vaultfs
