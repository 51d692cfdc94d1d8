#pragma once

#include <optional>
#include <set>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// For a check without keys: whether what a damaged segment has lost lies in other segments, by the ids that headers of
// records tell. Like all that is said without keys it is not authenticated. Not thread-safe.
class RecordCopies {
 public:
  // What a closed segment has lost: the ids of its records whose headers can be read, but not their contents. Nothing
  // if there may be others: the segment is cut, or a header or its footer is damaged, too. Errors are of reading.
  [[nodiscard]] static Result<std::optional<std::set<ChunkId>>> lost_in(File& segment);

  void look_for(const std::set<ChunkId>& ids) { missing_.insert(ids.begin(), ids.end()); }
  // Takes note of the intact records of a segment.
  [[nodiscard]] Status search(File& segment);
  [[nodiscard]] bool all_found() const noexcept { return missing_.empty(); }
  [[nodiscard]] bool has(const ChunkId& id) const { return !missing_.contains(id); }

 private:
  std::set<ChunkId> missing_;
};

}  // namespace vaultfs
