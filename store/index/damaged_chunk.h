#pragma once

#include "base/ids.h"
#include "store/index/chunk_index.h"
#include "store/record/record.h"

namespace vaultfs {

// A chunk, map page or patch whose record was found damaged, by the part of its ChunkId that the index keeps.
struct DamagedChunk {
  ChunkIndex::Key key{};
  RecordType type = RecordType::chunk;
  ContainerNumber segment;  // where the record is that was found damaged; 0: no segment was found to have one
  bool operator==(const DamagedChunk&) const = default;
};

}  // namespace vaultfs
