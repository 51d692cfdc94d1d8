// Other records of an id: any that is not damaged will do (docs/format.md, section 3).
#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "store/segment/segment_recovery.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {
namespace {

// Of what the footers list twice. Beyond that the newest segments' count.
constexpr std::size_t kMostOtherPlaces = 1U << 17;

// What the disk does not give is not asked for again at once: it may take its time to say so.
constexpr std::int64_t kBetweenLooks = 10'000'000'000;

bool is_same_record(const ChunkPlace& a, const ChunkPlace& b) { return a.segment == b.segment && a.offset == b.offset; }

}  // namespace

void SegmentStoreImpl::note_unread(ContainerNumber number, const Error& error) {
  if (is_integrity_error(error.code)) return;
  const MutexLock lock(unread_mutex_);
  unread_.insert_or_assign(number, error);
  any_unread_ = true;
}

bool SegmentStoreImpl::look_again() {
  const MutexLock lock(unread_mutex_);
  if (env_.clock().monotonic_nanos() < look_again_at_) return false;
  bool any = false;
  for (auto at = unread_.begin(); at != unread_.end();) {
    const ContainerNumber number = at->first;
    bool closed = false;
    {
      const MutexLock segments_lock(mutex_);
      const auto found = segments_.find(number);
      closed = found != segments_.end() && found->second.closed;
    }
    const auto contents = [&]() -> Result<SegmentContents> {
      VAULTFS_ASSIGN_OR_RETURN(const auto file, file_of(number));
      return closed ? load_closed_segment(*file, keys_, number) : load_open_segment(*file, keys_, number);
    }();
    const std::optional<Error> failed = contents.ok() ? contents->damage : contents.error();
    if (failed && !is_integrity_error(failed->code)) {
      at->second = *failed;
      ++at;
      continue;
    }
    if (contents.ok()) {
      {
        const MutexLock segments_lock(mutex_);
        if (const auto found = segments_.find(number); found != segments_.end()) {
          found->second.file_bytes = contents->file_bytes;
        }
      }
      add_entries(number, contents->entries);
    }
    any = true;
    at = unread_.erase(at);
  }
  any_unread_ = !unread_.empty();
  look_again_at_ = env_.clock().monotonic_nanos() + kBetweenLooks;
  return any;
}

std::optional<ChunkPlace> SegmentStoreImpl::locate(const ChunkIndex::Key& key) {
  auto place = index_.find(key);
  if (place || !any_unread_.load() || !look_again()) return place;
  return index_.find(key);
}

Error SegmentStoreImpl::missing(const std::string& what) const {
  const MutexLock lock(unread_mutex_);
  if (unread_.empty()) return {ErrorCode::ChunkMissing, "no segment holds " + what};
  const auto& [number, error] = *unread_.begin();
  return with_context(error, what + " is in no segment that can be read, and segments/" +
                                 numbered_name(number.value, "seg") + " can't be");
}

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
    prefer_copy(id, failed, record->place);
    return std::move(record).value();
  }
  return std::nullopt;
}

std::vector<ChunkPlace> SegmentStoreImpl::other_places(const ChunkId& id) {
  const MutexLock lock(others_mutex_);
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
Status SegmentStoreImpl::search_footers() {
  if (!unsearched_) {
    unsearched_.emplace();
    const MutexLock lock(mutex_);
    for (const auto& [number, segment] : segments_) {
      if (segment.closed && !segment.missing) unsearched_->insert(number);
    }
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

void SegmentStoreImpl::prefer_copy(const ChunkId& id, const ChunkPlace& failed, const ChunkPlace& found) {
  // Not where compaction may have looked already.
  const MutexLock lock(mutex_);
  if (!segments_.contains(found.segment) || leaving_.contains(found.segment)) return;
  const auto indexed = index_.find(id);
  if (indexed && is_same_record(*indexed, failed)) index_.insert(id, found);
}

}  // namespace vaultfs
