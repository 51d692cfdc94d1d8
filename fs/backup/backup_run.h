#pragma once

#include "base/result.h"
#include "fs/backup/backup_request.h"
#include "fs/backup/item_jobs.h"
#include "fs/content/progress_meter.h"
#include "fs/tree/working_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Files of a backup under way are named so inside the item; names with this beginning are refused for disks, and
// leftovers of a crash are removed by the item's next backup run.
inline constexpr const char* kImportPrefix = ".vaultfs-import-";

// VaultEngine::backup. Reads all disks first; the working tree is touched only when everything has been read: then each
// changed disk is built beside the old one, by reference, and renamed over it. A disk without change is not touched.
// InvalidName, InvalidArgument, the errors of SourceReader::open (no job is begun); ItemBusy if a disk is open for
// writing in the mount or appears there meanwhile; JobFailed if a source changes its size; Interrupted if `progress`
// says so.
[[nodiscard]] Result<BackupOutcome> run_backup(Vault& vault, WorkingTree& tree, ItemJobs& jobs,
                                               const BackupRequest& request, const ProgressCallback& progress);

}  // namespace vaultfs
