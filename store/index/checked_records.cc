#include "store/index/checked_records.h"

#include "base/thread/mutex.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

std::size_t memory_of_checked(const CheckedRecord& record) {
  constexpr std::size_t kNodeBytes = 160;  // of list and table, and the shared pointer's counts
  return kNodeBytes + sizeof(CheckedRecord) + record.tags.capacity() * sizeof(CheckedRecord::Tag) +
         record.map.table.frames.capacity() * sizeof(FrameTable::Frame);
}

// 96 bits, never used twice under one key: u32 frame ‖ u64 serial.
std::array<std::byte, 12> tag_nonce(std::uint64_t serial, std::uint32_t frame) {
  std::array<std::byte, 12> nonce{};
  for (unsigned i = 0; i < 4; ++i) nonce[i] = static_cast<std::byte>((frame >> (8U * i)) & 0xffU);
  for (unsigned i = 0; i < 8; ++i) nonce[4 + i] = static_cast<std::byte>((serial >> (8U * i)) & 0xffU);
  return nonce;
}

// GMAC (NIST SP 800-38D): the tag of AES-256-GCM over nothing but additional data.
Status tag_frame(const Aead& tagger, std::uint64_t serial, std::uint32_t frame, ByteView sealed,
                 CheckedRecord::Tag& tag) {
  return tagger.seal(tag_nonce(serial, frame), sealed, {}, tag);
}

}  // namespace

Status CheckedRecord::compare(std::uint32_t frame, ByteView sealed) const {
  Tag tag{};
  VAULTFS_RETURN_IF_ERROR(tag_frame(*tagger, serial, frame, sealed, tag));
  if (constant_time_equal(tag, tags[frame])) return ok_status();
  return Error{ErrorCode::AuthenticationFailed, "a record of a closed data key has changed since it was checked"};
}

Status CheckedRecords::prepare(CheckedRecord& record) {
  const MutexLock lock(mutex_);
  if (tagger_ == nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, SecretBuffer::allocate(kAeadKeyBytes));
    env_.fill_random(key.mutable_view());
    VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<Aead> made, make_aes_256_gcm(key));
    tagger_ = std::move(made);
  }
  record.tagger = tagger_;
  record.serial = ++last_serial_;
  return ok_status();
}

std::shared_ptr<const CheckedRecord> CheckedRecords::find(const ChunkId& id) {
  const MutexLock lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->second;
}

Result<std::shared_ptr<const CheckedRecord>> CheckedRecords::keep(const ChunkId& id, const ChunkPlace& place,
                                                                  RecordMap map, ByteView stored) {
  auto record = std::make_shared<CheckedRecord>();
  record->place = place;
  record->map = std::move(map);
  VAULTFS_RETURN_IF_ERROR(prepare(*record));
  record->tags.resize(record->map.table.frames.size());
  for (std::uint32_t i = 0; i < record->tags.size(); ++i) {
    const FrameTable::Frame& frame = record->map.table.frames[i];
    VAULTFS_RETURN_IF_ERROR(tag_frame(*record->tagger, record->serial, i,
                                      stored.subspan(frame.offset, frame.sealed_bytes), record->tags[i]));
  }
  std::shared_ptr<const CheckedRecord> kept = std::move(record);
  const MutexLock lock(mutex_);
  if (tagger_ != kept->tagger) return kept;  // cleared meanwhile: it is the caller's alone
  if (const auto known = by_id_.find(id); known != by_id_.end()) drop(known->second);
  order_.emplace_front(id, kept);
  by_id_[id] = order_.begin();
  bytes_ += memory_of_checked(*kept);
  while (bytes_ > most_bytes_ && order_.size() > 1) drop(std::prev(order_.end()));
  return kept;
}

void CheckedRecords::drop(std::list<Kept>::iterator kept) {
  bytes_ -= memory_of_checked(*kept->second);
  by_id_.erase(kept->first);
  order_.erase(kept);
}

void CheckedRecords::clear() {
  const MutexLock lock(mutex_);
  tagger_.reset();
  by_id_.clear();
  order_.clear();
  bytes_ = 0;
}

std::size_t CheckedRecords::memory_bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace vaultfs
