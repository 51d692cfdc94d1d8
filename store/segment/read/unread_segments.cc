#include "store/segment/read/unread_segments.h"

#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/segment/file/segment_recovery.h"

namespace vaultfs {

void UnreadSegments::note_unread(ContainerNumber number, const Error& error) {
  if (is_integrity_error(error.code)) return;
  const MutexLock lock(mutex_);
  unread_.insert_or_assign(number, error);
  any_unread_ = true;
}

bool UnreadSegments::look_again() {
  const MutexLock lock(mutex_);
  if (env_.clock().monotonic_nanos() < look_again_at_) return false;
  bool any = false;
  for (auto at = unread_.begin(); at != unread_.end();) {
    const ContainerNumber number = at->first;
    const auto segment = table_.find(number);
    const bool closed = segment && segment->closed;
    const auto contents = [&]() -> Result<SegmentContents> {
      VAULTFS_ASSIGN_OR_RETURN(const auto file, files_.file_of(number));
      return closed ? load_closed_segment(*file, keys_, number) : load_open_segment(*file, keys_, number);
    }();
    const std::optional<Error> failed = contents.ok() ? contents->damage : contents.error();
    if (failed && !is_integrity_error(failed->code)) {
      at->second = *failed;
      ++at;
      continue;
    }
    if (contents.ok()) {
      table_.set_file_bytes(number, contents->file_bytes);
      add_entries(index_, number, contents->entries);
    }
    any = true;
    at = unread_.erase(at);
  }
  any_unread_ = !unread_.empty();
  look_again_at_ = env_.clock().monotonic_nanos() + kBetweenLooks;
  return any;
}

std::optional<ChunkPlace> UnreadSegments::locate(const ChunkIndex::Key& key) {
  auto place = index_.find(key);
  if (place || !any_unread_.load() || !look_again()) return place;
  return index_.find(key);
}

Error UnreadSegments::missing(const std::string& what) const {
  const MutexLock lock(mutex_);
  if (unread_.empty()) return {ErrorCode::ChunkMissing, "no segment holds " + what};
  const auto& [number, error] = *unread_.begin();
  return with_context(error, what + " is in no segment that can be read, and segments/" +
                                 numbered_name(number.value, "seg") + " can't be");
}

}  // namespace vaultfs
