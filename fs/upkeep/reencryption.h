#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/content/progress_meter.h"
#include "fs/content/space_guard.h"
#include "fs/tree/working_tree.h"
#include "fs/upkeep/compactor.h"
#include "fs/upkeep/reencrypt_request.h"
#include "vaultmeta/points/recovery_point_walk.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// One run of `vaultctl reencrypt`: docs/decisions/0007-reencryption.md. It keeps no state of its own between runs: what
// is left to do is what still lies under an older epoch. For one thread; everything else of the vault goes on beside
// it.
class Reencryption {
 public:
  // `session_ends`: what stops it then is the end of the mount, and nobody who asked for it.
  Reencryption(Vault& vault, WorkingTree& tree, Compactor& compactor, const ReencryptRequest& request,
               const ProgressCallback& progress, const std::atomic<bool>& session_ends);
  // The errors of VaultEngine::reencrypt().
  [[nodiscard]] Result<ReencryptOutcome> run();

 private:
  // What still lies under epochs before the target.
  struct Old {
    std::set<ContainerNumber> numbers;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] Result<Old> old_segments();
  // Points whose manifest is sealed under an older epoch, or lists a segment of one; not those of this run.
  [[nodiscard]] Result<std::vector<PointInfo>> points_to_reencrypt();
  [[nodiscard]] Result<bool> has_old_epoch(const PointInfo& point, const Old& old);

  [[nodiscard]] Status work();
  [[nodiscard]] Status reencrypt_points(const std::vector<PointInfo>& points);
  [[nodiscard]] Status publish(std::vector<PointNumber>& walked);
  [[nodiscard]] Status reencrypt_working_tree();
  [[nodiscard]] Status reencrypt(const ChunkId& id);
  [[nodiscard]] Status sync_reencrypted();
  // Everything that points need lies in the segments that they list: says so durably. False: a point was made meanwhile
  // that is to be re-encrypted.
  [[nodiscard]] Result<bool> inventories_are_current();
  [[nodiscard]] Status checkpoint();
  void note_damage(const std::string& what, const Error& error);

  // Interrupted if that is asked for. Now and then, and where the rate is ahead, waits.
  [[nodiscard]] Status go_on();
  [[nodiscard]] Status keep_to_rate();
  void show_progress();

  [[nodiscard]] Result<ReencryptOutcome> finish(const Status& done);
  [[nodiscard]] Status count_what_is_left();

  Vault& vault_;
  WorkingTree& tree_;
  Compactor& compactor_;
  const ReencryptRequest& request_;
  const ProgressCallback& progress_;
  const std::atomic<bool>& session_ends_;
  SpaceGuard space_;
  RecoveryPointWalk walk_;
  ReencryptOutcome outcome_;
  EpochNumber target_;
  Old before_;
  bool may_be_gone_ = false;       // what is visited may be referred to no more
  std::set<PointNumber> clean_;    // files of manifests that need nothing
  std::set<PointNumber> written_;  // by this run
  std::set<ContainerNumber> damaged_segments_;
  std::uint64_t visited_ = 0;
  std::uint64_t unsynced_bytes_ = 0;
  std::uint64_t unsynced_records_ = 0;
  std::uint64_t unpublished_bytes_ = 0;
  std::int64_t began_nanos_ = 0;  // of the steady clock: the rate is one of real time
  std::int64_t shown_nanos_ = 0;
};

}  // namespace vaultfs
