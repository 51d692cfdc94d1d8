#include "store/segment/epoch_end.h"

#include "store/index/segment_format.h"

namespace vaultfs {

Status EpochEnd::close_all_segments() {
  // Whose creation began under the epoch before is among the segments now; later ones are of the current epoch.
  open_.wait_for_creation();
  open_.retire_active();
  VAULTFS_RETURN_IF_ERROR(closed_.close_retired());
  // What goes on is of the current epoch.
  for (const auto& [number, writer] : table_.left_open()) {
    VAULTFS_RETURN_IF_ERROR(writer ? move_out_of_abandoned(number) : closed_.close_found_open(number));
  }
  // An empty segment's file that comes back with a crash would look like somebody's.
  return env_.sync_directory(root_ / "segments");
}

// What the last good sync made durable is stored anew. Who reads there goes on: the writer has the file.
Status EpochEnd::move_out_of_abandoned(ContainerNumber number) {
  const Env::Path path = root_ / open_segment_name(number);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path));
  if (info.kind == FileKind::missing) return ok_status();
  for (const ChunkIndex::Key& key : index_.keys_in({number})) {
    const auto place = index_.find(key);
    if (!place || place->segment != number) continue;
    const auto id = files_.id_at(key, *place);
    const auto content = id.ok() ? records_.read_verified_at(*id, *place) : Result<Bytes>(id.error());
    if (!content.ok() && is_integrity_error(content.code())) continue;  // it is damaged, and told as such
    if (!content.ok()) return with_context(content.error(), open_segment_name(number));
    VAULTFS_RETURN_IF_ERROR(writer_.store_new(place->type, *id, *content));
  }
  VAULTFS_RETURN_IF_ERROR(open_.sync());
  return env_.remove_file(path);
}

}  // namespace vaultfs
