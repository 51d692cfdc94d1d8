#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/chunk_index.h"
#include "store/index/index_head.h"
#include "store/index/patch_bases.h"

namespace vaultfs {

// The chunk index as stored (docs/format.md, section 4.3).
struct ChunkIndexFile {
  struct Entry {
    static constexpr std::size_t kEncodedBytes = 41;
    ChunkIndex::Key key{};
    ChunkPlace place;
  };
  struct Base {  // of a patch; all zero: a hole
    static constexpr std::size_t kEncodedBytes = 32;
    ChunkIndex::Key patch{};
    ChunkIndex::Key base{};
  };
  using Segments = std::map<ContainerNumber, std::uint64_t>;  // number, file length

  std::optional<IndexHead> head;  // nothing in the first form, which names no head
  Segments segments;
  std::vector<Entry> entries;
  std::vector<Base> bases;

  // The stream's content: all chunks of `index` that lie in one of `segments`, and of the patches among them the bases
  // that are known. What is damaged only because its segment is `missing` is not stored as damaged: the file may come
  // back.
  [[nodiscard]] static Bytes encode(const IndexHead& head, const Segments& segments,
                                    const std::set<ContainerNumber>& missing, const ChunkIndex& index,
                                    const PatchBases& bases);
  // DamagedSegment unless every entry can be true.
  [[nodiscard]] static Result<ChunkIndexFile> decode(ByteView content);
};

}  // namespace vaultfs
