#include "store/segment/read/other_records.h"

#include "store/index/segment_format.h"
#include "store/segment/file/segment_recovery.h"
#include "store/segment/read/unread_segments.h"

namespace vaultfs {
namespace {

// Of what the footers list twice. Beyond that the newest segments' count.
constexpr std::size_t kMostOtherPlaces = 1U << 17;

}  // namespace

std::vector<ChunkPlace> OtherRecords::other_places(const ChunkId& id) {
  const MutexLock lock(mutex_);
  const std::int64_t now = env_.clock().monotonic_nanos();
  if (!unsearched_ || (!unsearched_->empty() && now >= search_again_at_)) {
    static_cast<void>(search_footers());
    search_again_at_ = env_.clock().monotonic_nanos() + kBetweenLooks;
  }
  const auto found = others_.find(ChunkIndex::key_of(id));
  return found == others_.end() ? std::vector<ChunkPlace>() : found->second;
}

// Once for each opening: what is stored twice later on, this process stores itself, and the index has the newer place.
// What the disk did not give is searched again later.
Status OtherRecords::search_footers() {
  if (!unsearched_) {
    unsearched_.emplace();
    for (const auto& [number, bytes] : table_.closed_files()) unsearched_->insert(number);
  }
  const std::set<ContainerNumber> now = *unsearched_;
  for (auto at = now.rbegin(); at != now.rend(); ++at) {
    const ContainerNumber number = *at;
    const auto contents = [&]() -> Result<SegmentContents> {
      VAULTFS_ASSIGN_OR_RETURN(const auto file, blobs_.open(closed_segment_name(number)));
      return load_closed_segment(*file, keys_, number);
    }();
    // One that compaction has removed meanwhile has nothing any more.
    const bool gone = !contents.ok() && contents.code() == ErrorCode::NotFound;
    if (!contents.ok() && ends_the_opening(contents.code())) return contents.error();
    const std::optional<Error> failed = contents.ok() ? contents->damage : contents.error();
    if (!failed || gone || is_integrity_error(failed->code)) unsearched_->erase(number);
    if (!contents.ok() || (failed && !is_integrity_error(failed->code))) continue;
    for (const SegmentEntry& entry : contents->entries) {
      const ChunkPlace place{number, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type};
      const auto indexed = index_.find(entry.id);
      if (!indexed || is_same_record(*indexed, place)) continue;
      if (++others_count_ > kMostOtherPlaces) {
        unsearched_->clear();
        return ok_status();
      }
      others_[ChunkIndex::key_of(entry.id)].push_back(place);
    }
  }
  return ok_status();
}

}  // namespace vaultfs
