#pragma once

#include <vector>

#include "base/result.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// What was done with the vault, as job.list, job.show and activity tell it. A reader gets besides what this machine
// keeps for the vault's next owner, as that owner will record it.
[[nodiscard]] std::vector<JobInfo> job_records(Vault& vault);
// JobNotFound.
[[nodiscard]] Result<JobInfo> job_record(Vault& vault, JobNumber number);
[[nodiscard]] Result<std::vector<ActivityEntry>> activity_records(Vault& vault);

}  // namespace vaultfs
