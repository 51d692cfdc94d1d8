#include "store/segment/open_segments.h"

#include <utility>

#include "store/index/segment_format.h"
#include "store/segment/file/segment_writer.h"

namespace vaultfs {

Result<OpenSegments::Writer> OpenSegments::current_writer() {
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, keys_.current());
  if (Writer writer = table_.active_of(epoch)) return writer;
  const MutexLock creating(creating_mutex_);
  if (Writer writer = table_.active_of(epoch)) return writer;
  // One of an epoch that is over.
  if (const Writer old = table_.active()) retire(old);
  VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber number, take_segment_number());
  VAULTFS_ASSIGN_OR_RETURN(Writer writer, SegmentWriter::create(env_, root_, keys_, number, segment_bytes_, index_));
  table_.activate(writer);
  return writer;
}

// A number that no file has, neither this vault's nor a stranger's, which may have come since the opening.
Result<ContainerNumber> OpenSegments::take_segment_number() {
  while (true) {
    VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber number, table_.take_number());
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo closed, env_.info(root_ / closed_segment_name(number)));
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo open, env_.info(root_ / open_segment_name(number)));
    if (closed.kind == FileKind::missing && open.kind == FileKind::missing) return number;
  }
}

void OpenSegments::retire(const Writer& writer) {
  writer->detach();
  table_.retire(writer);
}

void OpenSegments::retire_active() {
  if (const Writer writer = table_.active()) retire(writer);
}

Status OpenSegments::sync() {
  const SegmentTable::Unsynced unsynced = table_.take_unsynced();
  Status first;
  if (unsynced.loss) first = *unsynced.loss;
  for (const Writer& writer : unsynced.writers) {
    Status synced = writer->sync();
    if (writer->abandoned()) table_.forget_abandoned(writer);
    if (!synced.ok() && first.ok()) first = std::move(synced);
  }
  return first;
}

}  // namespace vaultfs
