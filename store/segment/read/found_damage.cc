#include "store/segment/read/found_damage.h"

#include <array>
#include <utility>

#include "store/record/container.h"

namespace vaultfs {
namespace {

// Of more than this nothing is told: the segments that they lie in are named by verify.
constexpr std::size_t kMostDamageTold = 1U << 18;

}  // namespace

bool is_damage(ErrorCode code) {
  switch (code) {
    case ErrorCode::DamagedRecord:
    case ErrorCode::DamagedHeader:
    case ErrorCode::DamagedSegment:
    case ErrorCode::SegmentMissing:
    case ErrorCode::ChunkMismatch:
    case ErrorCode::AuthenticationFailed:
    case ErrorCode::KeyCommitmentMismatch:
    case ErrorCode::EpochClosed:
    case ErrorCode::IoError:
      return true;
    default:
      return false;
  }
}

void FoundDamage::note_failure(const ChunkId& id, const ChunkPlace& place, const Error& error) {
  if (says_damage(place, error.code)) tell_damaged(ChunkIndex::key_of(id), place);
}

void FoundDamage::tell_damaged(const ChunkIndex::Key& key, const ChunkPlace& place) {
  if (!index_.mark_damaged(key, place)) return;
  const MutexLock lock(mutex_);
  if (found_damaged_.size() < kMostDamageTold) found_damaged_.push_back({key, place.type, place.segment});
}

bool FoundDamage::says_damage(const ChunkPlace& place, ErrorCode code) const {
  if (!is_damage(code)) return false;
  // One bad sector is damage of what lies there; a disk that is gone is not.
  if (code == ErrorCode::IoError) return still_readable(place.segment);
  if (code != ErrorCode::SegmentMissing) return true;
  const auto folder = env_.info(root_ / "segments");
  return folder.ok() && folder->kind == FileKind::directory;
}

bool FoundDamage::still_readable(ContainerNumber segment) const {
  const auto file = files_.file_of(segment);
  if (!file.ok()) return false;
  const auto size = (*file)->size();
  if (!size.ok() || *size < ContainerHeader::kEncodedBytes) return false;
  std::array<std::byte, ContainerHeader::kEncodedBytes> bytes{};
  const auto begin = (*file)->read_at(0, bytes);
  if (!begin.ok() || !ContainerHeader::decode(ByteView(bytes).first(*begin)).ok()) return false;
  return (*file)->read_at(*size - bytes.size(), bytes).ok();
}

std::vector<DamagedChunk> FoundDamage::take() {
  const MutexLock lock(mutex_);
  return std::exchange(found_damaged_, {});
}

void FoundDamage::lay(const std::vector<DamagedChunk>& known) {
  for (const DamagedChunk& chunk : known) {
    const auto place = index_.find(chunk.key);
    if (place && place->segment == chunk.segment) index_.mark_damaged(chunk.key, *place);
  }
}

void FoundDamage::tell_what_is_marked() {
  index_.for_each([this](const ChunkIndex::Key& key, const ChunkPlace& place) {
    if (!place.damaged) return;
    const MutexLock lock(mutex_);
    if (found_damaged_.size() < kMostDamageTold) found_damaged_.push_back({key, place.type, place.segment});
  });
}

}  // namespace vaultfs
