#include "store/segment/closed_segments.h"

#include <algorithm>
#include <string>
#include <utility>

#include "store/index/chunk_index_file.h"
#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/file_origin.h"
#include "store/record/stream.h"
#include "store/segment/file/segment_recovery.h"
#include "store/segment/file/segment_writer.h"

namespace vaultfs {

Status ClosedSegments::close_retired() {
  const MutexLock closing(closing_mutex_);
  Status first;
  for (const SegmentTable::Writer& writer : table_.retired()) {
    const auto closed = writer->close(blobs_);
    note_closed(writer, closed);
    if (!closed.ok() && first.ok()) first = closed.error();
  }
  return first;
}

void ClosedSegments::note_closed(const SegmentTable::Writer& writer, const Result<std::uint64_t>& closed) {
  if (writer->abandoned()) {
    table_.forget_abandoned(writer);
    table_.set_unreported_loss(closed.ok() ? std::nullopt : std::optional<Error>(closed.error()));
    return;
  }
  // Else it stays retired: the next close tries again.
  if (closed.ok()) table_.end_retired(writer, *closed);
}

Status ClosedSegments::close_found_open(ContainerNumber number) {
  const MutexLock closing(closing_mutex_);
  SegmentContents contents;
  VAULTFS_ASSIGN_OR_RETURN(const OpenSegmentEnd end,
                           recover_open_segment(env_, root_, blobs_, keys_, number, contents));
  if (end == OpenSegmentEnd::left_open) {
    Error why = contents.damage.value_or(Error{ErrorCode::DamagedSegment, "it can't be closed"});
    return with_context(std::move(why), open_segment_name(number));
  }
  files_.forget(number);
  if (end == OpenSegmentEnd::removed) {
    table_.erase(number);
  } else {
    table_.set(number, {contents.file_bytes, true, false, nullptr});
  }
  add_entries(index_, number, contents.entries);
  return ok_status();
}

Status ClosedSegments::save_index(const IndexHead& newest) {
  const MutexLock closing(closing_mutex_);
  ChunkIndexFile::Segments closed;
  std::set<ContainerNumber> missing;
  table_.list_closed(closed, missing);
  bases_.keep_for(keys_);
  VAULTFS_ASSIGN_OR_RETURN(const auto names, blobs_.list("index"));
  std::set<std::uint64_t> taken;
  for (const std::string& name : names) {
    if (const auto number = number_of(name, "index")) taken.insert(*number);
  }
  const ContainerNumber number(free_number(last_index_, taken));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes,
                           seal_stream(env_, keys_, ContainerKind::index, number,
                                       ChunkIndexFile::encode(newest, closed, missing, index_, bases_)));
  VAULTFS_RETURN_IF_ERROR(blobs_.put("index/" + numbered_name(number.value, "index"), bytes));
  last_index_ = number.value;
  VAULTFS_RETURN_IF_ERROR(remove_own_indexes());
  own_indexes_ = {number.value};
  return ok_status();
}

Status ClosedSegments::remove_own_indexes() {
  while (!own_indexes_.empty()) {
    VAULTFS_RETURN_IF_ERROR(blobs_.remove("index/" + numbered_name(*own_indexes_.begin(), "index")));
    own_indexes_.erase(own_indexes_.begin());
  }
  return ok_status();
}

void ClosedSegments::found_index(std::uint64_t number, bool of_current_epoch) {
  const MutexLock closing(closing_mutex_);
  own_indexes_.insert(number);
  if (of_current_epoch) last_index_ = std::max(last_index_, number);
}

Status ClosedSegments::remove(const std::vector<ContainerNumber>& segments, std::size_t& removed) {
  removed = 0;
  const MutexLock closing(closing_mutex_);
  // An index that names segments which are gone would look like damage. It is derived, and written anew afterwards.
  VAULTFS_RETURN_IF_ERROR(remove_own_indexes());
  for (const ContainerNumber number : segments) {
    VAULTFS_RETURN_IF_ERROR(blobs_.remove(closed_segment_name(number)));
    files_.forget(number);
    table_.erase(number);
    ++removed;
  }
  return ok_status();
}

}  // namespace vaultfs
