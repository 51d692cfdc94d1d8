#include "store/index/patch_bases.h"

#include <cstring>

#include "base/thread/mutex.h"

namespace vaultfs {

std::size_t PatchBases::Hash::operator()(const Key& key) const noexcept {
  std::size_t hash = 0;
  static_assert(sizeof hash <= ChunkIndex::kKeyBytes);
  std::memcpy(&hash, key.data(), sizeof hash);
  return hash;
}

std::optional<PatchBases::Key> PatchBases::find(const Key& patch) const {
  const MutexLock lock(mutex_);
  for (const Table* table : {&by_id_, &by_epoch_}) {
    if (const auto found = table->find(patch); found != table->end()) return found->second;
  }
  return std::nullopt;
}

void PatchBases::insert(const Key& patch, const Key& base) {
  const MutexLock lock(mutex_);
  insert_locked(by_id_, patch, base);
}

void PatchBases::insert(const Key& patch, const Key& base, EpochNumber epoch) {
  const MutexLock lock(mutex_);
  if (epoch == epoch_) insert_locked(by_epoch_, patch, base);
}

void PatchBases::insert_locked(Table& table, const Key& patch, const Key& base) {
  if (by_id_.size() + by_epoch_.size() >= kMost) {  // many are of patches that are gone
    by_id_.clear();
    by_epoch_.clear();
  }
  table.insert_or_assign(patch, base);
}

void PatchBases::keep_for(const EpochKeys& keys) {
  const MutexLock lock(mutex_);
  if (keys.is_current(epoch_)) return;
  by_epoch_.clear();
  const auto current = keys.current();
  epoch_ = current.ok() ? *current : EpochNumber{};
}

}  // namespace vaultfs
