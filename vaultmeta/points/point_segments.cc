#include "vaultmeta/points/point_segments.h"

#include <optional>

#include "base/thread/mutex.h"

namespace vaultfs {

bool PointSegments::skip(const Error& error, bool& skipped) const {
  if (damage_ == Damage::fails || !(is_integrity_error(error.code) || error.code == ErrorCode::IoError)) return false;
  skipped = true;
  return true;
}

Status PointSegments::add(const ChunkId& chunk, Needed& needed, bool& skipped) {
  Status added = add_strictly(chunk, needed);
  return !added.ok() && skip(added.error(), skipped) ? ok_status() : added;
}

Status PointSegments::add_strictly(const ChunkId& chunk, Needed& needed) {
  if (chunk.is_zero()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber segment, segments_.segment_of(chunk));
  needed.emplace(segment, 0);
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ContainerNumber> base, segments_.base_segment_of(chunk));
  if (base) needed.emplace(*base, 0);
  return ok_status();
}

Result<PointSegments::Numbers> PointSegments::segments_of_page(const ChunkId& page, bool& skipped) {
  {
    const MutexLock lock(mutex_);
    if (const auto known = pages_.find(page); known != pages_.end()) return known->second;
  }
  Needed needed;
  bool skipped_here = false;
  VAULTFS_RETURN_IF_ERROR(add(page, needed, skipped_here));
  const auto decoded = [&]() -> Result<MapPage> {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes content, segments_.read_verified(RecordType::map_page, page));
    return MapPage::decode(content);
  }();
  if (!decoded.ok() && !skip(decoded.error(), skipped_here)) return decoded.error();
  if (decoded.ok()) {
    for (const ChunkId& chunk : decoded->entries) VAULTFS_RETURN_IF_ERROR(add(chunk, needed, skipped_here));
  }
  Numbers numbers;
  numbers.reserve(needed.size());
  for (const auto& [number, bytes] : needed) numbers.push_back(number);
  skipped = skipped || skipped_here;
  if (skipped_here) return numbers;  // each point that has this page is to be told
  const MutexLock lock(mutex_);
  if (pages_.size() >= kMaxPages) pages_.clear();
  pages_[page] = numbers;
  return numbers;
}

Result<std::vector<Manifest::SegmentNeeded>> PointSegments::of(const std::vector<InodeRecord>& inodes, bool& skipped) {
  Needed needed;
  for (const InodeRecord& inode : inodes) {
    for (const ChunkId& chunk : inode.chunks) VAULTFS_RETURN_IF_ERROR(add(chunk, needed, skipped));
    for (const ChunkId& page : inode.pages) {
      if (page.is_zero()) continue;
      VAULTFS_ASSIGN_OR_RETURN(const Numbers numbers, segments_of_page(page, skipped));
      for (const ContainerNumber number : numbers) needed.emplace(number, 0);
    }
  }
  for (const SegmentInfo& segment : segments_.segments()) {
    const auto found = needed.find(segment.number);
    if (found == needed.end()) continue;
    found->second = segment.file_bytes;
    // An empty file where a closed segment was.
    if (segment.closed && segment.file_bytes == 0 && damage_ == Damage::skipped) {
      needed.erase(found);
      skipped = true;
    }
  }
  std::vector<Manifest::SegmentNeeded> inventory;
  inventory.reserve(needed.size());
  for (const auto& [number, bytes] : needed) {
    if (bytes == 0) return Error{ErrorCode::TryAgain, "some of a recovery point's content is just being stored anew"};
    inventory.push_back({number, bytes});
  }
  return inventory;
}

void PointSegments::forget() {
  const MutexLock lock(mutex_);
  pages_.clear();
}

}  // namespace vaultfs
