#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "fs/backup/backup_request.h"
#include "fs/tree/snapshot.h"
#include "fs/upkeep/key_refresher.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// From a snapshot to a published recovery point, and the retirement of key versions that follows a completed job.
// Thread-safe.
class ItemCommit {
 public:
  ItemCommit(Vault& vault, KeyRefresher& refresher) : vault_(vault), refresher_(refresher) {}

  // Publishes the snapshot as a point of `job`.
  [[nodiscard]] Result<CommitOutcome> publish(TreeSnapshot snapshot, const JobInfo& job, bool automatic);
  // Ends `job` as Completed (no change); `turn_explicit` as in Vault::finish_job.
  [[nodiscard]] Result<CommitOutcome> finish_unchanged(JobInfo job, std::optional<PointNumber> turn_explicit);

  // Durably sets or clears the mark that the item's work was interrupted. Vault sets it by itself when a job fails.
  [[nodiscard]] Status mark_interrupted(const std::string& item, bool interrupted);
  [[nodiscard]] bool interrupted(const std::string& item);

 private:
  [[nodiscard]] std::vector<std::string> retired_versions();
  // Remembers what is damaged and forgets what is not any more, before it is known how the job ends.
  // `newest` is what is about to be published.
  [[nodiscard]] HealedDamage record_healed_damage(const Manifest* newest);
  // Completes `outcome` with the job as it ended and with what retired since `before`, trying what can be tried now.
  void finish_outcome(const std::vector<std::string>& before, JobNumber job, CommitOutcome& outcome);

  Vault& vault_;
  KeyRefresher& refresher_;
};

}  // namespace vaultfs
