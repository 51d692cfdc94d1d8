// What a catalogue remembers of damage.
#include "base/thread/mutex.h"
#include "vaultmeta/catalogue/catalogue_change.h"

namespace vaultfs {

void Catalogue::State::put(const std::vector<KnownDamage>& found) {
  for (const KnownDamage& one : found) {
    const auto known = damage.find(one.chunk.key);
    if (known != damage.end()) {
      known->second = one;
    } else if (damage.size() < kMaxDamage) {
      damage.emplace(one.chunk.key, one);
    }
  }
}

std::vector<KnownDamage> Catalogue::damage() const {
  const MutexLock lock(mutex_);
  std::vector<KnownDamage> found;
  found.reserve(state_.damage.size());
  for (const auto& [key, one] : state_.damage) found.push_back(one);
  return found;
}

std::size_t Catalogue::damage_count() const {
  const MutexLock lock(mutex_);
  return state_.damage.size();
}

bool Catalogue::knows_damage(const ChunkIndex::Key& key) const {
  const MutexLock lock(mutex_);
  return state_.damage.contains(key);
}

Bytes Catalogue::put(const std::vector<KnownDamage>& damage) {
  const MutexLock lock(mutex_);
  state_.put(damage);
  return encode_damaged(damage);
}

Bytes Catalogue::remove_damage(const std::vector<ChunkIndex::Key>& keys) {
  const MutexLock lock(mutex_);
  for (const ChunkIndex::Key& key : keys) state_.damage.erase(key);
  return encode_healed(keys);
}

}  // namespace vaultfs
