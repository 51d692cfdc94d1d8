#include "store/index/chunk_index.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/thread/mutex.h"
#include "store/index/patch.h"
#include "store/index/segment_format.h"

namespace vaultfs {

// One stored chunk, 30 bytes without padding. The id's first byte is the number of the shard.
struct ChunkIndexSlot {
  std::array<std::byte, 15> rest_of_key;
  std::array<std::byte, 4> segment;  // 0: the slot is empty
  std::array<std::byte, 4> offset;   // in units of 8 bytes
  std::array<std::byte, 6> sizes;    // 22 bits stored bytes / 8, 24 bits plaintext bytes - 1, map page, damaged;
                                     // unless it is a map page, the highest plaintext bit says patch
  std::uint8_t life;  // 6 bits: the generation in which it was last known to be live; unconfirmed; healed
};
static_assert(sizeof(ChunkIndexSlot) == 30 && alignof(ChunkIndexSlot) == 1);

namespace {

// Patches and chunks have less than 8 MiB.
static_assert(kMaxPatchBytes <= 1U << 23U && kMaxChunkBytes <= 1U << 23U);

constexpr std::size_t kFirstCapacity = 16;
constexpr unsigned kPlaintextShift = 22;
constexpr unsigned kPatchBit = 45;
constexpr unsigned kMapPageBit = 46;
constexpr unsigned kDamagedBit = 47;
constexpr std::uint8_t kHealedLife = 0x80;  // of ChunkIndexSlot::life
constexpr std::uint8_t kUnconfirmedLife = 0x40;
constexpr std::uint8_t kGenerationMask = 0x3f;

template <std::size_t N>
std::uint64_t load(const std::array<std::byte, N>& bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < N; ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

template <std::size_t N>
void store(std::array<std::byte, N>& bytes, std::uint64_t value) {
  for (std::size_t i = 0; i < N; ++i) bytes[i] = static_cast<std::byte>((value >> (8 * i)) & 0xffU);
}

bool is_empty(const ChunkIndexSlot& slot) { return load(slot.segment) == 0; }

bool has_key(const ChunkIndexSlot& slot, const ChunkIndex::Key& key) {
  return std::memcmp(slot.rest_of_key.data(), key.data() + 1, slot.rest_of_key.size()) == 0;
}

ChunkIndexSlot pack(const ChunkIndex::Key& key, const ChunkPlace& place, std::uint8_t generation) {
  const bool fits = place.segment.value != 0 && place.segment.value <= ChunkIndex::kMaxSegment &&
                    place.offset % 8 == 0 && place.offset <= ChunkIndex::kMaxOffset && place.stored_bytes % 8 == 0 &&
                    place.stored_bytes / 8 < (1U << kPlaintextShift) && place.plaintext_bytes != 0 &&
                    place.plaintext_bytes <= max_content_bytes(place.type);
  if (!fits) std::abort();
  ChunkIndexSlot slot{};
  std::copy(key.begin() + 1, key.end(), slot.rest_of_key.begin());
  store(slot.segment, place.segment.value);
  slot.life = static_cast<std::uint8_t>(generation | (place.healed ? kHealedLife : 0U) |
                                        (place.unconfirmed ? kUnconfirmedLife : 0U));
  store(slot.offset, place.offset / 8);
  store(slot.sizes, place.stored_bytes / 8 | std::uint64_t{place.plaintext_bytes - 1} << kPlaintextShift |
                        std::uint64_t{place.type == RecordType::patch ? 1U : 0U} << kPatchBit |
                        std::uint64_t{place.type == RecordType::map_page ? 1U : 0U} << kMapPageBit |
                        std::uint64_t{place.damaged ? 1U : 0U} << kDamagedBit);
  return slot;
}

ChunkPlace unpack(const ChunkIndexSlot& slot) {
  const std::uint64_t sizes = load(slot.sizes);
  ChunkPlace place;
  place.segment = ContainerNumber(load(slot.segment));
  place.offset = load(slot.offset) * 8;
  place.stored_bytes = static_cast<std::uint32_t>(sizes & ((1U << kPlaintextShift) - 1)) * 8;
  const bool map_page = ((sizes >> kMapPageBit) & 1U) != 0;
  const bool patch = !map_page && ((sizes >> kPatchBit) & 1U) != 0;
  const std::uint64_t plaintext_bits = map_page ? 0xffffffU : 0x7fffffU;
  place.plaintext_bytes = static_cast<std::uint32_t>((sizes >> kPlaintextShift) & plaintext_bits) + 1;
  place.type = map_page ? RecordType::map_page : patch ? RecordType::patch : RecordType::chunk;
  place.damaged = ((sizes >> kDamagedBit) & 1U) != 0;
  place.healed = (slot.life & kHealedLife) != 0;
  place.unconfirmed = (slot.life & kUnconfirmedLife) != 0;
  return place;
}

std::uint8_t generation_of(const ChunkIndexSlot& slot) { return slot.life & kGenerationMask; }

void set_generation(ChunkIndexSlot& slot, std::uint8_t generation) {
  slot.life = static_cast<std::uint8_t>((slot.life & ~kGenerationMask) | generation);
}

void mark_slot_damaged(ChunkIndexSlot& slot) { store(slot.sizes, load(slot.sizes) | std::uint64_t{1} << kDamagedBit); }

void mark_slot_sound(ChunkIndexSlot& slot) { store(slot.sizes, load(slot.sizes) & ~(std::uint64_t{1} << kDamagedBit)); }

bool same_place(ChunkPlace a, const ChunkPlace& b) {
  a.damaged = b.damaged;
  a.healed = b.healed;
  a.unconfirmed = b.unconfirmed;
  return a == b;
}

}  // namespace

// Linear probing; deletion shifts back what follows, so that no tombstones fill the table.
struct ChunkIndex::Shard {
  mutable Mutex mutex;  // a leaf
  std::unique_ptr<ChunkIndexSlot[]> slots GUARDED_BY(mutex);
  std::size_t capacity GUARDED_BY(mutex) = 0;
  std::size_t used GUARDED_BY(mutex) = 0;

  // Ids are uniform, so that their next four bytes, scaled to the capacity, spread well for any capacity.
  [[nodiscard]] std::size_t home(const std::byte* rest_of_key) const REQUIRES(mutex) {
    std::uint32_t hash = 0;
    std::memcpy(&hash, rest_of_key, sizeof hash);
    return static_cast<std::size_t>((std::uint64_t{hash} * capacity) >> 32U);
  }
  [[nodiscard]] std::size_t after(std::size_t i) const REQUIRES(mutex) { return i + 1 == capacity ? 0 : i + 1; }

  // The slot that has the key, or the empty one where it would go. REQUIRES: capacity > used.
  [[nodiscard]] ChunkIndexSlot& locate(const Key& key) const REQUIRES(mutex) {
    std::size_t i = home(key.data() + 1);
    while (!is_empty(slots[i]) && !has_key(slots[i], key)) i = after(i);
    return slots[i];
  }
  [[nodiscard]] ChunkIndexSlot* find(const Key& key) const REQUIRES(mutex) {
    if (capacity == 0) return nullptr;
    ChunkIndexSlot& slot = locate(key);
    return is_empty(slot) ? nullptr : &slot;
  }
  void insert(const Key& key, ChunkPlace place, std::uint8_t generation) REQUIRES(mutex) {
    if (ChunkIndexSlot* known = find(key); known != nullptr) {
      const ChunkPlace before = unpack(*known);
      place.healed |= before.healed || (before.damaged && before.segment != place.segment);
      *known = pack(key, place, generation);
      return;
    }
    // Filled to 9/10, grown by 1/5: between 75 and 90 % of the slots are in use.
    if ((used + 1) * 10 > capacity * 9) grow();
    locate(key) = pack(key, place, generation);
    ++used;
  }
  void grow() REQUIRES(mutex) {
    const std::size_t old_capacity = capacity;
    const std::unique_ptr<ChunkIndexSlot[]> old = std::move(slots);
    capacity = capacity == 0 ? kFirstCapacity : capacity + capacity / 5 + 1;
    slots = std::make_unique<ChunkIndexSlot[]>(capacity);
    for (std::size_t i = 0; i < old_capacity; ++i) {
      if (is_empty(old[i])) continue;
      std::size_t to = home(old[i].rest_of_key.data());
      while (!is_empty(slots[to])) to = after(to);
      slots[to] = old[i];
    }
  }
  void erase(ChunkIndexSlot& slot) REQUIRES(mutex) {
    auto hole = static_cast<std::size_t>(&slot - slots.get());
    for (std::size_t i = after(hole); !is_empty(slots[i]); i = after(i)) {
      const std::size_t wants = home(slots[i].rest_of_key.data());
      // May move back unless its home lies (cyclically) after the hole.
      const bool home_after_hole = hole <= i ? (hole < wants && wants <= i) : (hole < wants || wants <= i);
      if (home_after_hole) continue;
      slots[hole] = slots[i];
      hole = i;
    }
    slots[hole] = ChunkIndexSlot{};
    --used;
  }
};

ChunkIndex::ChunkIndex() : shards_(std::make_unique<std::array<Shard, kShards>>()) {}
ChunkIndex::~ChunkIndex() = default;

ChunkIndex::Key ChunkIndex::key_of(const ChunkId& id) {
  Key key{};
  std::copy_n(id.view().begin(), key.size(), key.begin());
  return key;
}

ChunkIndex::Shard& ChunkIndex::shard(const Key& key) const { return (*shards_)[std::to_integer<std::size_t>(key[0])]; }

std::optional<ChunkPlace> ChunkIndex::find(const Key& key) const {
  const Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  const ChunkIndexSlot* slot = s.find(key);
  if (slot == nullptr) return std::nullopt;
  return unpack(*slot);
}

void ChunkIndex::insert(const Key& key, const ChunkPlace& place) {
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  s.insert(key, place, generation());
}

void ChunkIndex::insert_if_better(const ChunkId& id, const ChunkPlace& place) {
  const Key key = key_of(id);
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  if (ChunkIndexSlot* slot = s.find(key); slot != nullptr) {
    const ChunkPlace known = unpack(*slot);
    if (known.segment != place.segment) slot->life |= kHealedLife;  // whichever of the two it is from here on
    if (!known.damaged && known.segment >= place.segment) return;
  }
  s.insert(key, place, generation());
}

void ChunkIndex::erase_if_at(const ChunkId& id, const ChunkPlace& place) {
  const Key key = key_of(id);
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot == nullptr) return;
  const ChunkPlace known = unpack(*slot);
  if (!same_place(known, place)) return;
  if (known.healed) {
    mark_slot_damaged(*slot);
  } else {
    s.erase(*slot);
  }
}

bool ChunkIndex::mark_damaged(const Key& key, const ChunkPlace& place) {
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot == nullptr) return false;
  const ChunkPlace known = unpack(*slot);
  if (!same_place(known, place) || known.damaged) return false;
  mark_slot_damaged(*slot);
  return true;
}

void ChunkIndex::mark_sound(const Key& key, const ChunkPlace& place) {
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot != nullptr && same_place(unpack(*slot), place)) mark_slot_sound(*slot);
}

void ChunkIndex::confirm(const ChunkId& id, const ChunkPlace& place) {
  const Key key = key_of(id);
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot != nullptr && same_place(unpack(*slot), place)) {
    slot->life = static_cast<std::uint8_t>(slot->life & ~kUnconfirmedLife);
  }
}

void ChunkIndex::begin_generation() { ++generation_; }

std::uint8_t ChunkIndex::generation() const { return generation_.load() & kGenerationMask; }

std::optional<ChunkPlace> ChunkIndex::touch(const Key& key) {
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot == nullptr) return std::nullopt;
  set_generation(*slot, generation());
  return unpack(*slot);
}

bool ChunkIndex::erase_if_dead_at(const ChunkId& id, const ChunkPlace& place) {
  const Key key = key_of(id);
  Shard& s = shard(key);
  const MutexLock lock(s.mutex);
  ChunkIndexSlot* slot = s.find(key);
  if (slot == nullptr || !same_place(unpack(*slot), place)) return true;
  if (generation_of(*slot) == generation()) return false;
  s.erase(*slot);
  return true;
}

std::uint64_t ChunkIndex::size() const {
  std::uint64_t sum = 0;
  for (const Shard& s : *shards_) {
    const MutexLock lock(s.mutex);
    sum += s.used;
  }
  return sum;
}

std::uint64_t ChunkIndex::memory_bytes() const {
  std::uint64_t sum = sizeof *shards_;
  for (const Shard& s : *shards_) {
    const MutexLock lock(s.mutex);
    sum += s.capacity * sizeof(ChunkIndexSlot);
  }
  return sum;
}

void ChunkIndex::for_each(const std::function<void(const Key&, const ChunkPlace&)>& visit) const {
  for_each_with_life([&](const Key& key, const ChunkPlace& place, bool) { visit(key, place); });
}

void ChunkIndex::for_each_with_life(const std::function<void(const Key&, const ChunkPlace&, bool live)>& visit) const {
  for (std::size_t i = 0; i < kShards; ++i) {
    const Shard& s = (*shards_)[i];
    const MutexLock lock(s.mutex);
    Key key{};
    key[0] = static_cast<std::byte>(i);
    for (std::size_t j = 0; j < s.capacity; ++j) {
      const ChunkIndexSlot& slot = s.slots[j];
      if (is_empty(slot)) continue;
      std::copy(slot.rest_of_key.begin(), slot.rest_of_key.end(), key.begin() + 1);
      visit(key, unpack(slot), generation_of(slot) == generation());
    }
  }
}

std::vector<ChunkIndex::Key> ChunkIndex::keys_in(const std::set<ContainerNumber>& segments) const {
  std::vector<Key> keys;
  if (segments.empty()) return keys;
  for_each([&](const Key& key, const ChunkPlace& place) {
    if (segments.contains(place.segment)) keys.push_back(key);
  });
  return keys;
}

}  // namespace vaultfs
