#include "vaultmeta/points/recovery_point_walk.h"

namespace vaultfs {

Status RecoveryPointWalk::walk_page(const ChunkId& page) {
  if (page.is_zero() || pages_.contains(page)) return ok_status();
  VAULTFS_RETURN_IF_ERROR(visit_(page));
  const auto decoded = [&]() -> Result<MapPage> {
    const UseGate::Use use = segments_.use();
    VAULTFS_ASSIGN_OR_RETURN(const Bytes content, segments_.read_verified(RecordType::map_page, page));
    return MapPage::decode(content);
  }();
  if (!decoded.ok()) {
    if (!is_integrity_error(decoded.code()) && decoded.code() != ErrorCode::IoError) return decoded.error();
    damaged_(page, decoded.error());
    return ok_status();
  }
  for (const ChunkId& chunk : decoded->entries) {
    if (!chunk.is_zero()) VAULTFS_RETURN_IF_ERROR(visit_(chunk));
  }
  if (pages_.size() >= kMaxPages) pages_.clear();
  pages_.insert(page);
  return ok_status();
}

Status RecoveryPointWalk::walk(const Manifest& manifest) {
  for (const InodeRecord& inode : manifest.inodes) {
    for (const ChunkId& chunk : inode.chunks) {
      if (!chunk.is_zero()) VAULTFS_RETURN_IF_ERROR(visit_(chunk));
    }
    for (const ChunkId& page : inode.pages) VAULTFS_RETURN_IF_ERROR(walk_page(page));
  }
  return ok_status();
}

}  // namespace vaultfs
