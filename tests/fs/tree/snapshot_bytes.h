#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/tree/snapshot.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// The content of a file as a snapshot has it.
[[nodiscard]] inline Result<Bytes> record_bytes(SegmentStore& store, const InodeRecord& record) {
  Bytes bytes(record.size);
  const std::uint64_t chunks = (record.size + kChunkBytes - 1) / kChunkBytes;
  std::vector<ChunkId> ids = record.chunks;
  for (const ChunkId& page : record.pages) {
    if (page.is_zero()) {
      ids.resize(ids.size() + kEntriesPerMapPage);
      continue;
    }
    VAULTFS_ASSIGN_OR_RETURN(const Bytes stored, store.read_verified(RecordType::map_page, page));
    VAULTFS_ASSIGN_OR_RETURN(const MapPage decoded, MapPage::decode(stored));
    ids.insert(ids.end(), decoded.entries.begin(), decoded.entries.end());
  }
  if (ids.size() < chunks) return Error{ErrorCode::Internal, "a snapshot's file lists too few chunks"};
  for (std::uint64_t i = 0; i < chunks; ++i) {
    if (ids[i].is_zero()) continue;
    VAULTFS_ASSIGN_OR_RETURN(const Bytes chunk, store.read_verified(RecordType::chunk, ids[i]));
    std::copy_n(chunk.begin(), std::min<std::uint64_t>(chunk.size(), record.size - i * kChunkBytes),
                bytes.begin() + static_cast<std::ptrdiff_t>(i * kChunkBytes));
  }
  return bytes;
}

// Of the file with that name in the item's top directory.
[[nodiscard]] inline Result<Bytes> snapshot_bytes(SegmentStore& store, const TreeSnapshot& snapshot,
                                                  const std::string& name) {
  InodeNumber wanted;
  for (const InodeRecord& record : snapshot.inodes) {
    if (record.number != snapshot.root) continue;
    for (const auto& [entry, number] : record.entries) {
      if (entry == name) wanted = number;
    }
  }
  for (const InodeRecord& record : snapshot.inodes) {
    if (record.number == wanted) return record_bytes(store, record);
  }
  return Error{ErrorCode::NotFound, "the snapshot has no such file"};
}

}  // namespace vaultfs
