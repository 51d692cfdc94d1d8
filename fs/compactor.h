#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <set>

#include "base/result.h"
#include "fs/working_tree.h"
#include "vaultmeta/vault.h"

namespace vaultfs {

// Gives back the space of what was overwritten and removed since the last recovery point: segments that no point needs
// and that hold little of what the working tree needs. docs/decisions/0005-compaction.md. Thread-safe.
class Compactor {
 public:
  enum class Occasion : std::uint8_t {
    idle,           // now and then
    before_commit,  // what is garbage then would lie in the point's segments for as long as the point lives
  };
  Compactor(Vault& vault, WorkingTree& tree) : vault_(vault), tree_(tree) {}

  // Compacts if it pays, or if the disk is nearly full. Does nothing while a backup, a commit, a checkpoint, a reader
  // of the vault or `vault hold` has a use for the segments as they are: the next look tries again. After an error
  // nothing needed is lost, and as much of the rest is gone as was done by then.
  [[nodiscard]] Status compact_if_due(Occasion occasion);

 private:
  // The share of garbage from which a segment is compacted; nothing if it does not pay.
  [[nodiscard]] Result<std::optional<unsigned>> worthwhile_percent(Occasion occasion) const;
  // Learns the segments of points that are new since the last call.
  [[nodiscard]] Status learn_points();

  Vault& vault_;
  WorkingTree& tree_;
  std::mutex mutex_;                // one at a time; guards all below
  std::set<ContainerNumber> kept_;  // segments in the inventory of a point
  std::set<PointNumber> learnt_;
  bool measured_ = false;  // what is unused is known: a compaction was made since the opening
};

}  // namespace vaultfs
