#pragma once

#include <optional>
#include <set>
#include <unordered_map>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// For verify: whether what recovery points and the working tree need can be read. Segments were read before, record by
// record; what the index has in those that are sound is believed, all else is read whole, once. One thread.
class LostContent {
 public:
  LostContent(SegmentStore& segments, std::set<ContainerNumber> sound)
      : segments_(segments), sound_(std::move(sound)) {}

  // Why the content of a chunk, patch or map page, or what it lies over, can't be read; nothing: it can.
  [[nodiscard]] std::optional<Error> look(const ChunkId& id);
  // The same of what has to be a chunk or a patch.
  [[nodiscard]] std::optional<Error> look_at_chunk(const ChunkId& id);

  // Whether any of what was asked for is lost where it lies in this segment, or may have been there.
  [[nodiscard]] bool lost_in(ContainerNumber segment) const { return nowhere_ || lost_.contains(segment); }

 private:
  [[nodiscard]] Status read(const ChunkId& id, std::set<ContainerNumber>& lies_in);
  [[nodiscard]] Status check_form(const ChunkId& id);

  SegmentStore& segments_;
  const std::set<ContainerNumber> sound_;
  std::set<ContainerNumber> lost_;
  bool nowhere_ = false;                                    // something is in no segment
  std::unordered_map<ChunkId, std::optional<Error>> read_;  // what does not lie in sound segments only
};

}  // namespace vaultfs
