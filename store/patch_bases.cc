#include "store/patch_bases.h"

#include <cstring>

namespace vaultfs {

std::size_t PatchBases::Hash::operator()(const Key& key) const noexcept {
  std::size_t hash = 0;
  static_assert(sizeof hash <= ChunkIndex::kKeyBytes);
  std::memcpy(&hash, key.data(), sizeof hash);
  return hash;
}

std::optional<PatchBases::Key> PatchBases::find(const Key& patch) const {
  const std::lock_guard lock(mutex_);
  const auto found = bases_.find(patch);
  if (found == bases_.end()) return std::nullopt;
  return found->second;
}

void PatchBases::insert(const Key& patch, const Key& base) {
  const std::lock_guard lock(mutex_);
  if (bases_.size() >= kMost) bases_.clear();  // many are of patches that are gone
  bases_.insert_or_assign(patch, base);
}

}  // namespace vaultfs
