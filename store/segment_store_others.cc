// Other records of an id: any that is not damaged will do (docs/format.md, section 3).
#include <algorithm>
#include <ranges>
#include <utility>

#include "store/segment_recovery.h"
#include "store/segment_store_impl.h"

namespace vaultfs {
namespace {

// Of what the footers list twice. Beyond that the newest segments' count.
constexpr std::size_t kMostOtherPlaces = 1U << 17;

bool is_same_record(const ChunkPlace& a, const ChunkPlace& b) { return a.segment == b.segment && a.offset == b.offset; }

}  // namespace

std::optional<SegmentStoreImpl::Located> SegmentStoreImpl::pass_over(const ChunkId& id, const ChunkPlace& failed) {
  for (const ChunkPlace& place : other_places(id)) {
    if (is_same_record(place, failed)) continue;
    auto record = open_record_at(id, place);
    if (!record.ok()) continue;
    const Status good = record->closed ? check_record_at(id, *record, 0, {}) : [&]() -> Status {
      Bytes content(place.plaintext_bytes);
      return read_whole_record_at(id, *record, content);
    }();
    if (!good.ok()) continue;
    settle_on(id, failed, record->place);
    return std::move(record).value();
  }
  return std::nullopt;
}

std::vector<ChunkPlace> SegmentStoreImpl::other_places(const ChunkId& id) {
  const std::lock_guard lock(others_mutex_);
  if (!others_searched_) others_searched_ = search_footers().ok();
  const auto found = others_.find(ChunkIndex::key_of(id));
  return found == others_.end() ? std::vector<ChunkPlace>() : found->second;
}

// Once for each opening: what is stored twice later on, this process stores itself, and the index has the newer place.
Status SegmentStoreImpl::search_footers() {
  others_.clear();
  std::vector<ContainerNumber> closed;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, segment] : segments_ | std::views::reverse) {
      if (segment.closed && !segment.missing) closed.push_back(number);
    }
  }
  std::size_t count = 0;
  for (const ContainerNumber number : closed) {
    const auto footer = [&]() -> Result<std::vector<SegmentEntry>> {
      VAULTFS_ASSIGN_OR_RETURN(const auto file, blobs_.open(closed_segment_name(number)));
      return load_segment_footer(*file, keys_, number);
    }();
    if (!footer.ok()) {
      if (ends_the_opening(footer.code())) return footer.error();
      continue;
    }
    for (const SegmentEntry& entry : *footer) {
      const ChunkPlace place{number, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type};
      const auto indexed = index_.find(entry.id);
      if (!indexed || is_same_record(*indexed, place)) continue;
      if (++count > kMostOtherPlaces) return ok_status();
      others_[ChunkIndex::key_of(entry.id)].push_back(place);
    }
  }
  return ok_status();
}

void SegmentStoreImpl::settle_on(const ChunkId& id, const ChunkPlace& failed, const ChunkPlace& found) {
  // Not where compaction may have looked already.
  const std::lock_guard lock(mutex_);
  if (!segments_.contains(found.segment) || leaving_.contains(found.segment)) return;
  const auto indexed = index_.find(id);
  if (indexed && is_same_record(*indexed, failed)) index_.insert(id, found);
}

}  // namespace vaultfs
