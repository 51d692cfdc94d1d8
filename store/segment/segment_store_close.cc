// What has to be done before a DEK epoch is closed: from then on no segment of it is written, finished or recovered.
#include <utility>

#include "base/thread/mutex.h"
#include "store/segment/segment_recovery.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {

Status SegmentStoreImpl::close_all_segments() {
  if (options_.read_only) return ok_status();
  // Whose creation began under the epoch before is among the segments now; later ones are of the current epoch.
  { const MutexLock creating(creating_mutex_); }
  VAULTFS_RETURN_IF_ERROR(close_segment());
  std::vector<std::pair<ContainerNumber, Writer>> left;
  {
    const MutexLock lock(mutex_);
    for (const auto& [number, segment] : segments_) {
      const bool goes_on = segment.writer && !segment.writer->abandoned();  // one of the current epoch
      if (!segment.closed && !segment.missing && !goes_on) left.emplace_back(number, segment.writer);
    }
  }
  for (const auto& [number, writer] : left) {
    VAULTFS_RETURN_IF_ERROR(writer ? move_out_of_abandoned(number) : close_found_open(number));
  }
  // An empty segment's file that comes back with a crash would look like somebody's.
  return env_.sync_directory(root_ / "segments");
}

Status SegmentStoreImpl::close_found_open(ContainerNumber number) {
  const MutexLock closing(closing_mutex_);
  SegmentContents contents;
  VAULTFS_ASSIGN_OR_RETURN(const OpenSegmentEnd end,
                           recover_open_segment(env_, root_, blobs_, keys_, number, contents));
  if (end == OpenSegmentEnd::left_open) {
    Error why = contents.damage.value_or(Error{ErrorCode::DamagedSegment, "it can't be closed"});
    return with_context(std::move(why), open_segment_name(number));
  }
  readers_.erase(number);
  {
    const MutexLock lock(mutex_);
    if (end == OpenSegmentEnd::removed) {
      segments_.erase(number);
    } else {
      segments_[number] = {contents.file_bytes, true, false, nullptr};
    }
  }
  add_entries(number, contents.entries);
  return ok_status();
}

// What the last good sync made durable is stored anew. Who reads there goes on: the writer has the file.
Status SegmentStoreImpl::move_out_of_abandoned(ContainerNumber number) {
  const Env::Path path = root_ / open_segment_name(number);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path));
  if (info.kind == FileKind::missing) return ok_status();
  for (const ChunkIndex::Key& key : keys_in({number})) {
    const auto place = index_.find(key);
    if (!place || place->segment != number) continue;
    const auto id = id_at(key, *place);
    const auto content = id.ok() ? read_verified_at(*id, *place) : Result<Bytes>(id.error());
    if (!content.ok() && is_integrity_error(content.code())) continue;  // it is damaged, and told as such
    if (!content.ok()) return with_context(content.error(), open_segment_name(number));
    VAULTFS_RETURN_IF_ERROR(store_new(place->type, *id, *content));
  }
  VAULTFS_RETURN_IF_ERROR(sync());
  return env_.remove_file(path);
}

}  // namespace vaultfs
