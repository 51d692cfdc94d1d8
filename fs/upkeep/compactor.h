#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/tree/working_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// For so long the segments of a superseded manifest stay, so that a copy of the vault that is being taken, or was just
// taken, has what its points need.
inline constexpr std::int64_t kSupersededGraceSeconds = std::int64_t{24} * 3600;

// Gives back the space of what was overwritten and removed since the last recovery point, and of what a re-encryption
// has moved: segments that no point needs and that hold little of what the working tree needs.
// docs/decisions/0005-compaction.md, 0007-reencryption.md. Thread-safe.
class Compactor {
 public:
  enum class Occasion : std::uint8_t {
    idle,           // now and then
    before_commit,  // what is garbage then would lie in the point's segments for as long as the point lives
    before_backup,  // only on a disk that is nearly full
    closing,        // only what is due by time
  };
  Compactor(Vault& vault, WorkingTree& tree) : vault_(vault), tree_(tree) {}

  // Compacts if it pays, if the disk is nearly full, or if the grace of something superseded is over. Does nothing
  // while a backup, a commit, a checkpoint, a reader of the vault or `vault hold` has a use for the segments as they
  // are: the next look tries again. After an error nothing needed is lost, and as much of the rest is gone as was done
  // by then.
  [[nodiscard]] Status compact_if_due(Occasion occasion);
  // After work that ended for want of space: gives back all that nothing refers to. False as compact_now().
  [[nodiscard]] Result<bool> give_back();
  // Compacts whether it pays or not. False if somebody has a use for the segments as they are.
  [[nodiscard]] Result<bool> compact_now();

 private:
  struct Plan {
    unsigned percent = 0;  // of garbage from which a segment is compacted
    bool without_grace = false;
  };
  // Nothing if it does not pay.
  [[nodiscard]] Result<std::optional<Plan>> plan_for(Occasion occasion) const REQUIRES(mutex_);
  [[nodiscard]] Result<bool> carry_out(const Plan& plan) REQUIRES(mutex_);
  [[nodiscard]] bool grace_is_over() const;
  [[nodiscard]] Result<bool> nearly_full() const;
  // Learns the segments of manifests that are new since the last call.
  [[nodiscard]] Status learn_points() REQUIRES(mutex_);
  // With the lengths that the inventories tell.
  [[nodiscard]] bool listed_segments_are_there() const REQUIRES(mutex_);
  // Also what lies outside the points' own segments is needed: they are being re-encrypted, or what one of their
  // segments had may have been stored anew.
  [[nodiscard]] Status retain_points() REQUIRES(mutex_);

  Vault& vault_;
  WorkingTree& tree_;
  Mutex mutex_;  // one at a time
  std::set<ContainerNumber> kept_
      GUARDED_BY(mutex_);  // segments in the inventory of a manifest, superseded ones included
  std::map<ContainerNumber, std::uint64_t> listed_bytes_ GUARDED_BY(mutex_);  // of these segments
  std::set<PointNumber> learnt_ GUARDED_BY(mutex_);                           // files of manifests
  bool measured_ GUARDED_BY(mutex_) = false;  // what is unused is known: a compaction was made since the opening
};

}  // namespace vaultfs
